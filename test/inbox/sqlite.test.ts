import { openSqliteInbox } from "../../src/inbox/open.ts";
import { inboxContract } from "./contract.ts";

inboxContract("SQLite", openSqliteInbox);

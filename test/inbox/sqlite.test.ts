import { openSqliteInbox } from "../../src/inbox/sqlite.ts";
import { inboxContract } from "./contract.ts";

inboxContract("SQLite", openSqliteInbox);

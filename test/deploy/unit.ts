// The systemd unit, by systemd's own check.

import { join } from "node:path";

import { ensure, type Proof, ROOT, run } from "./tools.ts";

// `systemd-analyze security` rates 0 (safe) to 10. A unit without any restriction has 9.6.
const MAX_EXPOSURE = 4;

export const unit: Proof = {
  name: "the systemd unit",
  needs: { "systemd-analyze": "systemd" },
  async *prove(folder) {
    const text = await Bun.file(join(ROOT, "examples/deploy/bellhop.service")).text();
    const file = join(folder, "bellhop.service");
    // Most mistakes are only warnings on its standard error. It also checks units of this machine.
    const complaints = async () => {
      const output = await run(["sh", "-c", `systemd-analyze verify --man=no ${file} 2>&1`]).catch(String);
      return output.split("\n").filter((line) => line.includes("bellhop.service"));
    };
    // It checks that the program exists, which this machine does not have in /usr/local/bin.
    const existing = text.replaceAll("=/usr/local/bin/bellhop ", "=/bin/true ");
    ensure(existing !== text, "the unit starts /usr/local/bin/bellhop");
    await Bun.write(file, existing);
    const found = await complaints();
    ensure(found.length === 0, `systemd-analyze verify has no complaint: ${found.join("; ")}`);
    yield "systemd-analyze verify accepts it";
    const rating = await run(["systemd-analyze", "security", "--offline=true", file]);
    const [, exposure] = /Overall exposure level for \S+: ([\d.]+)/.exec(rating) ?? [];
    ensure(Number(exposure) <= MAX_EXPOSURE, `its exposure is ${exposure}, at most ${MAX_EXPOSURE}`);
    yield `systemd-analyze security rates its exposure ${exposure} of 10`;
    await Bun.write(file, existing.replace("ProtectSystem=strict", "ProtectSystem=stricter"));
    ensure((await complaints()).length > 0, "systemd-analyze verify finds a mistake");
    yield "not checked: a start by systemd, which is not the first process of this machine";
  },
};

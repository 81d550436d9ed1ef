// One line of `bun doctor`: a state, a fact, and the remedy.

export interface Finding {
  /** `problem`: something needs a person. `note`: good to know, or not checked, with the reason. */
  state: "ok" | "note" | "problem";
  /** The thing that was checked: `clock`, `handlers`. */
  name: string;
  fact: string;
  remedy?: string;
  /** Fixes it, for `--fix`. */
  fix?: {
    /** The question: `Create .env with a secret?` */
    question: string;
    apply: () => Promise<unknown>;
  };
}

type More = Pick<Finding, "fix">;

export const ok = (name: string, fact: string): Finding => ({ state: "ok", name, fact });
export const note = (name: string, fact: string, remedy?: string, more?: More): Finding => ({
  state: "note",
  name,
  fact,
  ...(remedy !== undefined && { remedy }),
  ...more,
});
export const problem = (name: string, fact: string, remedy: string, more?: More): Finding => ({
  state: "problem",
  name,
  fact,
  remedy,
  ...more,
});

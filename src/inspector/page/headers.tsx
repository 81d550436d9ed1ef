// The headers of a delivery, and facts about its signature.

import type { DeliveryJson } from "../../api/types.ts";
import { formatDuration } from "../../duration.ts";
import { Copy, Time } from "./components.tsx";

export function Headers({ delivery: { headers, receivedAt } }: { delivery: DeliveryJson }) {
  const signedAt = Number(headers?.["svix-timestamp"] ?? headers?.["webhook-timestamp"]) * 1_000;
  return (
    <section class="headers stack" aria-labelledby="headers-heading">
      <h2 id="headers-heading" tabIndex={-1}>
        Headers
      </h2>
      <p>
        <span class="chip done">
          <span aria-hidden="true">✓</span> signature matches
        </span>{" "}
        <span class="faint">
          It was checked on the raw bytes, before anything was parsed.
          {signedAt > 0 && (
            <>
              {" "}
              Signed <Time at={signedAt} />, {describeAge(receivedAt - signedAt)}.
            </>
          )}
        </span>
      </p>
      {headers === null ? (
        <p class="faint">They were deleted with the payload.</p>
      ) : (
        <dl class="terms">
          {Object.entries(headers).map(([name, value]) => (
            <Header key={name} name={name} value={value} />
          ))}
        </dl>
      )}
    </section>
  );
}

function Header({ name, value }: { name: string; value: string }) {
  return (
    <>
      <dt class="faint">{name}</dt>
      <dd>
        <code>{value}</code> <Copy text={value} what={name} />
      </dd>
    </>
  );
}

/** The timestamp has whole seconds, so a smaller difference is unknown. */
function describeAge(age: number): string {
  return age < 1_000 ? "within the second" : `${formatDuration(age)} before it came`;
}

// Runs as `inbox.db` has them, for who reads past the server: those that are written, and those that began with their
// delivery and have not ended, which only its row tells of.

const COLUMNS =
  "id, seq, handler, replay, lane, line, at, state, attempts, spent, interrupted, reason, parked_at, bulk";

/** A table for `from`. */
export const EVERY_RUN = `(
  select ${COLUMNS} from run
  union all select began.value ->> 0, seq, began.value ->> 1, '', began.value ->> 2,
    iif(sample, 'sample ' || subject, subject), at, 1, 1, 0, 0, null, null, 0
  from delivery, json_each(began) as began
  where seq > (select value from meta where key = 'begun')
  and not exists (select 1 from run where run.id = began.value ->> 0)
)`;

/** By indexes that only hold what is not done: asking costs a server nothing. */
export const OPEN_RUNS = `
  select seq from run where state in (0, 1) and state <> 2 and parked_at is null
  union all select delivery.seq from delivery, json_each(began) as began
  where delivery.seq > (select value from meta where key = 'begun')
  and not exists (select 1 from run where run.id = began.value ->> 0)`;

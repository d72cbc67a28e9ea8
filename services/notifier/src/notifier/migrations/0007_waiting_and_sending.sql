-- What waits to be sent, and what is being sent, stand in small tables of their own.  To take a mail
-- then changes no delivery, which has many indexes, and a delivery changes once for each attempt.
--
-- A delivery that is queued or deferred is in one of the two; who deletes it there may act on it.
CREATE TABLE waiting (
    delivery     uuid         PRIMARY KEY,
    priority     smallint     NOT NULL,
    next_try_at  timestamptz  NOT NULL
);
-- Mails that were planned together wait for the same instant.  Their entries are not put together in
-- one, so that each can be passed over by those who come after it was taken.
CREATE INDEX waiting_turn ON waiting (priority, next_try_at) WITH (deduplicate_items = off);

-- The intent to send, on record before the mail relay is spoken to.
CREATE TABLE sending (
    delivery  uuid    PRIMARY KEY,
    worker    bigint  NOT NULL     -- who is at it; its advisory lock says if it lives
);

ALTER TABLE delivery DISABLE TRIGGER USER;
INSERT INTO waiting SELECT id, priority, next_try_at FROM delivery WHERE next_try_at IS NOT NULL;
INSERT INTO sending SELECT id, worker FROM delivery WHERE worker IS NOT NULL;
ALTER TABLE delivery
    DROP COLUMN next_try_at,
    DROP COLUMN worker,
    DROP CONSTRAINT delivery_state_check;
UPDATE delivery SET state = 'queued', attempts = attempts - 1 WHERE state = 'sending';
ALTER TABLE delivery
    ADD CONSTRAINT delivery_state_check CHECK (state IN (
        'queued', 'accepted', 'deferred', 'bounced', 'complained', 'suppressed', 'expired',
        'unknown'));
ALTER TABLE delivery ENABLE TRIGGER USER;

-- Steps by way of "sending" are one for the table.
INSERT INTO delivery_step (before, after)
     SELECT took.before, ended.after
       FROM delivery_step AS took
       JOIN delivery_step AS ended ON ended.before = took.after
      WHERE took.after = 'sending' AND took.before <> ended.after
ON CONFLICT DO NOTHING;
DELETE FROM delivery_step WHERE 'sending' IN (before, after);

-- How many deliveries of each message are in each state now; "sending" is one to people.
CREATE VIEW message_states AS
    SELECT message_id, jsonb_object_agg(state, deliveries) AS states
      FROM (SELECT message_id,
                   CASE WHEN sending.delivery IS NULL THEN state ELSE 'sending' END AS state,
                   count(*) AS deliveries
              FROM delivery
              LEFT JOIN sending ON sending.delivery = delivery.id
          GROUP BY 1, 2) AS counted
  GROUP BY message_id;

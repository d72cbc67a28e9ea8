-- To settle a delivery changes its row where it lies, and none of its indexes: nothing in them ever
-- changes but by a purge.  What went amiss, of which there is little, has a table beside it.
DROP INDEX delivery_not_taken, delivery_by_state;
ALTER TABLE delivery SET (fillfactor = 50);

CREATE TABLE amiss (
    delivery    uuid  PRIMARY KEY,
    message_id  text  NOT NULL,
    state       text  NOT NULL CHECK (state IN ('bounced', 'complained', 'suppressed', 'expired',
                                                'unknown'))
);
CREATE INDEX amiss_of_message ON amiss (message_id, state, delivery);
CREATE INDEX amiss_by_state ON amiss (state, delivery);
INSERT INTO amiss
     SELECT id, message_id, state FROM delivery
      WHERE state IN ('bounced', 'complained', 'suppressed', 'expired', 'unknown');

-- That there is the message is looked at once for all that is planned of it, not row by row.
ALTER TABLE delivery DROP CONSTRAINT delivery_message_id_fkey;
ALTER TABLE message_customer DROP CONSTRAINT message_customer_message_id_fkey;
CREATE FUNCTION of_a_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT message_id FROM added) AS named
                WHERE NOT EXISTS (SELECT FROM message
                                   WHERE message.message_id = named.message_id)) THEN
        RAISE EXCEPTION '% is of no message', TG_TABLE_NAME USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER of_a_message AFTER INSERT ON delivery
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION of_a_message();
CREATE TRIGGER of_a_message AFTER INSERT ON message_customer
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION of_a_message();

-- Whether a message has mails that wait is asked again and again.
ALTER TABLE waiting ADD COLUMN message_id text;
UPDATE waiting SET message_id = delivery.message_id FROM delivery WHERE id = waiting.delivery;
ALTER TABLE waiting
    DROP CONSTRAINT waiting_pkey,
    ADD PRIMARY KEY (message_id, delivery);

CREATE OR REPLACE FUNCTION note_planned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery_change (delivery, state, reason, attempts, registers, at)
         SELECT id, state, reason, attempts, registered, changed_at FROM planned ORDER BY id;
    INSERT INTO amiss SELECT id, message_id, state FROM planned WHERE state <> 'queued';
    RETURN NULL;
END $$;

CREATE FUNCTION refuse_step(delivery uuid, before text, after text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'no such step of a delivery: %: % to %', delivery, before, after
        USING ERRCODE = 'check_violation';
END $$;

CREATE OR REPLACE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery_change (delivery, state, reason, reply, attempts, registers, at)
         SELECT now.id,
                CASE WHEN EXISTS (SELECT FROM delivery_step AS step
                                   WHERE (step.before, step.after) = (was.state, now.state))
                     THEN now.state
                     ELSE refuse_step(now.id, was.state, now.state)
                END,
                now.reason, now.reply, now.attempts, now.registered AND NOT was.registered,
                now.changed_at
           FROM after AS now JOIN before AS was USING (id)
          WHERE was.state <> now.state
       ORDER BY now.id;
    IF EXISTS (SELECT FROM before WHERE state NOT IN ('queued', 'deferred', 'accepted')
               UNION ALL
               SELECT FROM after WHERE state NOT IN ('queued', 'deferred', 'accepted')) THEN
        MERGE INTO amiss
             USING (SELECT id, message_id, state,
                           state NOT IN ('queued', 'deferred', 'accepted') AS stays
                      FROM after) AS step
                ON delivery = step.id
        WHEN MATCHED AND stays THEN UPDATE SET state = step.state
        WHEN MATCHED THEN DELETE
        WHEN NOT MATCHED AND stays THEN INSERT VALUES (step.id, step.message_id, step.state);
    END IF;
    RETURN NULL;
END $$;

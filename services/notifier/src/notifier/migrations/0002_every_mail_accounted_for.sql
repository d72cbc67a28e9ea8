-- Every mail accounted for: which step a delivery took when, from which version of a template its
-- text was made, who may not be written to, and which customers a message was meant for.

-- What a mail is made from.  A version never changes; its text lies here, so that a mail that is
-- sent later than it was planned says what was planned.
CREATE TABLE template (
    name     text         NOT NULL,
    version  int          NOT NULL CHECK (version > 0),
    content  jsonb        NOT NULL,       -- schema of the parameters, source by locale
    since    timestamptz  NOT NULL,
    PRIMARY KEY (name, version)
);

ALTER TABLE recipient
    ADD COLUMN domain text GENERATED ALWAYS AS (lower(substring(email FROM '@([^@]*)$'))) STORED;

-- Why a contact may get an optional type of message.
CREATE TABLE basis (
    customer_id   text         NOT NULL,
    contact_id    text         NOT NULL,
    message_type  text         NOT NULL,
    basis         text         NOT NULL,
    since         timestamptz  NOT NULL,
    PRIMARY KEY (customer_id, contact_id, message_type),
    FOREIGN KEY (customer_id, contact_id) REFERENCES contact ON DELETE CASCADE
);

-- What is not sent to an address, known by its keyed hash: it outlives the address itself.
CREATE TABLE suppression (
    lookup     bytea        NOT NULL,
    scope      text         NOT NULL,     -- a message type; 'optional', all that are; or 'all'
    reason     text         NOT NULL CHECK (reason IN ('unsubscribed', 'complaint', 'hard-bounce')),
    since      timestamptz  NOT NULL,
    record_id  uuid         NOT NULL UNIQUE,  -- what retention knows it by
    quarantined  boolean    NOT NULL DEFAULT false,
    PRIMARY KEY (lookup, scope)
);

ALTER TABLE message
    ADD COLUMN template_version int NOT NULL DEFAULT 1,
    ADD COLUMN supersedes text REFERENCES message,
    ADD COLUMN thread text,               -- what mails that belong together have in common
    ADD COLUMN calendar jsonb;            -- its entry in people's calendars

-- Whom a message was meant for, whether or not anybody there can be written to.
CREATE TABLE message_customer (
    message_id   text  NOT NULL REFERENCES message,
    customer_id  text  NOT NULL,
    PRIMARY KEY (message_id, customer_id)
);

ALTER TABLE delivery
    ADD COLUMN message_type text,
    ADD COLUMN priority smallint NOT NULL DEFAULT 5,
    ADD COLUMN reason text,               -- why it is in its state, where the state leaves that open
    ADD COLUMN resends uuid REFERENCES delivery,
    ADD COLUMN doubt_told boolean NOT NULL DEFAULT false,   -- that it is unknown
    ADD COLUMN registered boolean NOT NULL DEFAULT false;   -- with retention, as a record
UPDATE delivery SET message_type = message.type, registered = state NOT IN ('queued', 'sending', 'deferred')
  FROM message WHERE message.message_id = delivery.message_id;
ALTER TABLE delivery
    ALTER COLUMN message_type SET NOT NULL,
    DROP CONSTRAINT delivery_message_id_recipient_key,
    DROP CONSTRAINT delivery_state_check,
    ADD CONSTRAINT delivery_state_check CHECK (state IN (
        'queued', 'sending', 'accepted', 'deferred', 'bounced', 'complained', 'suppressed',
        'expired', 'unknown'));
-- One mail for each recipient of a message, whatever is delivered twice; and one for each resend.
CREATE UNIQUE INDEX delivery_once ON delivery (message_id, recipient) WHERE resends IS NULL;
CREATE UNIQUE INDEX delivery_resent_once ON delivery (resends) WHERE resends IS NOT NULL;

DROP INDEX delivery_waiting, delivery_open, delivery_recipient, delivery_customer;
CREATE INDEX delivery_waiting ON delivery (priority, next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX delivery_message ON delivery (message_id, id);
CREATE INDEX delivery_not_taken ON delivery (message_id, id) WHERE state <> 'accepted';
CREATE INDEX delivery_by_state ON delivery (state, id)
    WHERE state IN ('bounced', 'complained', 'suppressed', 'expired', 'unknown');
CREATE INDEX delivery_recipient ON delivery (recipient, id);
CREATE INDEX delivery_customer ON delivery (customer_id, id);
CREATE INDEX delivery_type ON delivery (message_type, id);

-- The steps there are; what notifier.delivery says, for whoever changes a row by hand.
CREATE TABLE delivery_step (before text, after text, PRIMARY KEY (before, after));
INSERT INTO delivery_step VALUES
    ('queued', 'sending'), ('queued', 'suppressed'), ('queued', 'expired'),
    ('sending', 'queued'), ('sending', 'accepted'), ('sending', 'deferred'), ('sending', 'bounced'),
    ('sending', 'suppressed'), ('sending', 'expired'), ('sending', 'unknown'),
    ('deferred', 'sending'), ('deferred', 'suppressed'), ('deferred', 'expired'),
    ('unknown', 'queued'), ('unknown', 'accepted'), ('unknown', 'bounced'), ('unknown', 'complained'),
    ('accepted', 'bounced'), ('accepted', 'complained');

-- What became of each delivery, step by step; rows are only ever added.  The intent ("sending") is
-- in the delivery alone: it is a mark for a crash, not news.
CREATE TABLE delivery_change (
    position   bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xact       xid8         NOT NULL DEFAULT pg_current_xact_id(),
    delivery   uuid         NOT NULL,
    state      text         NOT NULL,
    reason     text,
    reply      text,
    attempts   int          NOT NULL,
    registers  boolean      NOT NULL,     -- the first outcome: retention is told of the record
    at         timestamptz  NOT NULL
);
CREATE INDEX delivery_change_xact ON delivery_change (xact);
CREATE INDEX delivery_change_delivery ON delivery_change (delivery);

-- How far the changes were announced: all of transactions before told_before, and of those before
-- up_to what lies at or before position.
CREATE TABLE announced (
    told_before  xid8    NOT NULL,
    up_to        xid8    NOT NULL,
    position     bigint  NOT NULL,
    one          boolean PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO announced VALUES (pg_current_xact_id(), pg_current_xact_id(), 0);

CREATE FUNCTION note_planned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery_change (delivery, state, reason, attempts, registers, at)
         SELECT id, state, reason, attempts, registered, changed_at FROM planned ORDER BY id;
    RETURN NULL;
END $$;
CREATE TRIGGER note_planned AFTER INSERT ON delivery
    REFERENCING NEW TABLE AS planned FOR EACH STATEMENT EXECUTE FUNCTION note_planned();

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    illegal text;
BEGIN
    SELECT format('%s: %s to %s', now.id, was.state, now.state) INTO illegal
      FROM after AS now JOIN before AS was USING (id)
     WHERE was.state <> now.state
       AND NOT EXISTS (SELECT FROM delivery_step AS step
                        WHERE (step.before, step.after) = (was.state, now.state))
     LIMIT 1;
    IF illegal IS NOT NULL THEN
        RAISE EXCEPTION 'no such step of a delivery: %', illegal USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO delivery_change (delivery, state, reason, reply, attempts, registers, at)
         SELECT now.id, now.state, now.reason, now.reply, now.attempts,
                now.registered AND NOT was.registered, now.changed_at
           FROM after AS now JOIN before AS was USING (id)
          WHERE was.state <> now.state AND now.state <> 'sending'
       ORDER BY now.id;
    RETURN NULL;
END $$;
CREATE TRIGGER note_change AFTER UPDATE ON delivery
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION note_change();

-- When the next mail may go to a domain that takes only so many.
CREATE TABLE pace (
    domain     text         PRIMARY KEY,
    next_free  timestamptz  NOT NULL
);

-- Whether the mail relay could be reached when it was last tried.
CREATE TABLE relay (
    away  boolean  NOT NULL,
    one   boolean  PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO relay VALUES (false);

-- Alerts as an engine sees them: what stands, who was told what, what is silenced, who looks after it.

ALTER TABLE alert
    ADD COLUMN labels jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN runbook text,
    ADD COLUMN heard_at timestamptz,       -- the latest instant that anything said of it is about
    ADD COLUMN seen_at timestamptz,        -- when we first knew of it as grave as it is
    ADD COLUMN gone_at timestamptz,        -- when we knew that it was over
    ADD COLUMN fresh boolean NOT NULL DEFAULT false,  -- nobody has looked since it was raised
    ADD COLUMN acked_by text,
    ADD COLUMN acked_at timestamptz,
    ADD COLUMN acked_until timestamptz;
UPDATE alert
   SET heard_at = coalesce(resolved_at, raised_at), seen_at = raised_at, gone_at = resolved_at;
ALTER TABLE alert
    ALTER COLUMN heard_at SET NOT NULL,
    ALTER COLUMN seen_at SET NOT NULL,
    ADD CHECK (severity IN ('info', 'warning', 'critical')),
    ADD CHECK ((gone_at IS NULL) = (resolved_at IS NULL)),
    ADD CHECK ((acked_by IS NULL) = (acked_until IS NULL)),
    ADD CHECK ((acked_at IS NULL) = (acked_until IS NULL)),
    ADD CHECK (acked_by IS NULL OR resolved_at IS NULL);
CREATE INDEX alert_of_interest ON alert (fingerprint) WHERE resolved_at IS NULL OR fresh;

-- What a receiver was told of a group.
CREATE TABLE alert_track (
    group_id  text         NOT NULL,
    receiver  text         NOT NULL,
    labels    jsonb        NOT NULL,       -- those that the group's alerts agree in
    number    int          NOT NULL,       -- of mails; it only grows, so no id of a notice comes twice
    told_at   timestamptz,
    held_at   timestamptz,                 -- since when something waits for the morning, or for room
    thread    text,
    marks     jsonb        NOT NULL,       -- fingerprint: [severity told, since when, last told]
    PRIMARY KEY (group_id, receiver)
);
CREATE FUNCTION number_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number < OLD.number THEN
        RAISE EXCEPTION 'a notice would be told under the id of an earlier one'
              USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER number_grows BEFORE UPDATE ON alert_track
    FOR EACH ROW EXECUTE FUNCTION number_grows();

CREATE TABLE alert_silence (
    id         uuid         PRIMARY KEY,
    matchers   jsonb        NOT NULL CHECK (jsonb_array_length(matchers) > 0),
    by         text         NOT NULL CHECK (by <> ''),
    reason     text         NOT NULL CHECK (reason <> ''),
    starts_at  timestamptz  NOT NULL,
    ends_at    timestamptz  NOT NULL,
    created_at timestamptz  NOT NULL,
    expired_by text,                       -- who ended it before its time
    CHECK (ends_at >= starts_at)
);
CREATE INDEX alert_silence_end ON alert_silence (ends_at);

-- Everything that anybody was told, by whichever way.  What became of a mail is in its delivery; of
-- what was passed on to a webhook, here.
CREATE TABLE alert_notice (
    id           text         PRIMARY KEY,
    channel      text         NOT NULL CHECK (channel IN ('mail', 'webhook')),
    receiver     text         NOT NULL,
    kind         text         NOT NULL,
    at           timestamptz  NOT NULL,
    counts       boolean      NOT NULL,    -- towards the mails that its receiver gets in an hour
    alerts       text[]       NOT NULL,    -- fingerprints of those that stood
    body         jsonb,
    state        text         CHECK (state IN ('queued', 'accepted', 'expired')),
    attempts     int          NOT NULL DEFAULT 0,
    next_try_at  timestamptz,
    answer       text,                     -- the status, or what kind of fault
    CHECK ((channel = 'webhook') = (state IS NOT NULL)),
    CHECK ((channel = 'webhook') = (body IS NOT NULL)),
    CHECK ((next_try_at IS NOT NULL) = (state IS NOT DISTINCT FROM 'queued'))
);
CREATE INDEX alert_notice_recent ON alert_notice (at) WHERE counts;
CREATE INDEX alert_notice_waiting ON alert_notice (next_try_at) WHERE next_try_at IS NOT NULL;

-- Signs of life of the way that alerts take.
CREATE TABLE alert_pulse (
    name  text         PRIMARY KEY CHECK (name IN ('consumer', 'probe')),
    at    timestamptz  NOT NULL
);

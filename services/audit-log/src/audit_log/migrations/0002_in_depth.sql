-- Leaves in bundles, identities of their own, content in three parts by month, sequences of
-- producers, cosignatures of witnesses.

-- The leaves as they are served: 256 of 64 bytes a row.
CREATE TABLE bundle (
    number  bigint  PRIMARY KEY,
    leaves  bytea   NOT NULL CHECK (length(leaves) BETWEEN 64 AND 16384 AND length(leaves) % 64 = 0)
);
ALTER TABLE bundle ALTER leaves SET STORAGE EXTERNAL;
INSERT INTO bundle
SELECT index / 256, string_agg(leaf, '' ORDER BY index) FROM entry GROUP BY 1;

-- What was logged stays: a bundle or a tile may grow and never change.
CREATE FUNCTION only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'bundle' THEN
        IF substring(NEW.leaves FOR length(OLD.leaves)) <> OLD.leaves THEN
            RAISE 'the leaves of bundle % were about to be changed', OLD.number;
        END IF;
    ELSIF substring(NEW.hashes FOR length(OLD.hashes)) <> OLD.hashes THEN
        RAISE 'the hashes of tile %/% were about to be changed', OLD.level, OLD.number;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_grow BEFORE UPDATE ON bundle FOR EACH ROW EXECUTE FUNCTION only_grow();
CREATE TRIGGER only_grow BEFORE UPDATE ON tile FOR EACH ROW EXECUTE FUNCTION only_grow();

-- Which events are in the log: kept after their content is purged, so that none comes back.
-- audit_log.leaf.identity says how source and id make the 16 bytes.
CREATE TABLE seen (
    index  bigint  NOT NULL CHECK (index >= 0),
    event  bytea   NOT NULL
);
INSERT INTO seen
SELECT index,
       CASE WHEN event_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$'
            THEN decode(left(event_id, 8) || substr(event_id, 10, 4), 'hex') || substr(hash, 1, 10)
            ELSE substr(hash, 1, 16)
       END
  FROM payload,
       sha256(convert_to(source, 'UTF8') || '\x00' || convert_to(event_id, 'UTF8')) AS hash;
CREATE UNIQUE INDEX seen_event ON seen (event);
ALTER TABLE seen ADD PRIMARY KEY (index);

-- The content of entries.  A part is a salt of 16 bytes and then its value, in one column: a salt
-- cannot outlive its value.  Of a part that was purged alone its digest is kept, so that the rest
-- of the entry still opens to the leaf.
ALTER TABLE payload RENAME TO payload_before;
DROP INDEX payload_bucket, payload_event, payload_customer;
CREATE TABLE payload (
    index           bigint       NOT NULL CHECK (index >= 0),
    at              timestamptz  NOT NULL,
    bucket          bigint,                          -- NULL: not personal, never purged
    customer_id     text         COLLATE "C",        -- '': personal, and no customer's
    actor           text         COLLATE "C",        -- from who
    action          text         COLLATE "C" NOT NULL,
    target          text         COLLATE "C",        -- from what
    outcome         text         COLLATE "C",
    channel         text         COLLATE "C",
    who             bytea,
    what            bytea,
    network         bytea,
    who_digest      bytea,
    what_digest     bytea,
    network_digest  bytea,
    CHECK (bucket IS NULL OR customer_id IS NOT NULL),   -- or no purge would find it
    CHECK (who IS NULL OR who_digest IS NULL),
    CHECK (what IS NULL OR what_digest IS NULL),
    CHECK (network IS NULL OR network_digest IS NULL),
    CHECK (actor IS NULL OR who IS NOT NULL),
    CHECK (target IS NULL OR what IS NOT NULL)
) PARTITION BY RANGE (at);
-- A part can be destroyed, and nothing else can become of it.
CREATE FUNCTION only_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.who <> OLD.who OR NEW.what <> OLD.what OR NEW.network <> OLD.network
       OR (NEW.who IS NOT NULL AND OLD.who IS NULL)
       OR (NEW.what IS NOT NULL AND OLD.what IS NULL)
       OR (NEW.network IS NOT NULL AND OLD.network IS NULL) THEN
        RAISE 'the content of entry % was about to be changed', OLD.index;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_forget BEFORE UPDATE ON payload FOR EACH ROW EXECUTE FUNCTION only_forget();

CREATE TABLE payload_earlier PARTITION OF payload FOR VALUES FROM (MINVALUE) TO ('2020-01-01Z');
CREATE INDEX payload_index ON payload (index);
CREATE INDEX payload_by_time ON payload (at, index);
CREATE INDEX payload_by_customer ON payload (customer_id, at, index);
CREATE INDEX payload_by_actor ON payload (actor, at, index) WHERE actor IS NOT NULL;
CREATE INDEX payload_by_action ON payload (action, at, index);
CREATE INDEX payload_by_target ON payload (target, at, index) WHERE target IS NOT NULL;
-- What failed or was denied is few, and often what people look for.
CREATE INDEX payload_by_outcome ON payload (outcome, at, index) WHERE outcome <> 'success';

-- The service adds a month when the first event of it comes, and can do nothing else to tables.
-- A table of its own that is then attached waits for nobody who reads, as a partition made in place
-- would: appenders would have to wait with it until a verifier has come to its end.
CREATE FUNCTION open_month(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    first date := date_trunc('month', month);
    name text := 'payload_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass(quote_ident(name)) IS NULL THEN
        EXECUTE format('CREATE TABLE %I (LIKE payload INCLUDING ALL)', name);
        EXECUTE format(
            'ALTER TABLE payload ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            name,
            first || 'Z',
            (first + interval '1 month')::date || 'Z'
        );
    END IF;
END $$;
REVOKE ALL ON FUNCTION open_month FROM PUBLIC;
SELECT open_month(month::date)
  FROM (SELECT DISTINCT date_trunc('month', at AT TIME ZONE 'UTC') AS month FROM payload_before)
 WHERE month >= '2020-01-01';
INSERT INTO payload
            (index, at, bucket, customer_id, actor, action, target, outcome, channel, who, what)
SELECT index, at, bucket, customer_id,
       coalesce(person #>> '{actor,id}', person ->> 'by'),
       coalesce(CASE type WHEN 'platform.action.performed.v1' THEN content #>> '{data,action}' END,
                type),
       CASE type
            WHEN 'platform.action.performed.v1' THEN content #>> '{data,target,id}'
            WHEN 'notifier.delivery.changed.v1' THEN content #>> '{data,message_id}'
            WHEN 'retention.hold.placed.v1' THEN content #>> '{data,hold_id}'
            WHEN 'retention.hold.released.v1' THEN content #>> '{data,hold_id}'
       END,
       CASE type
            WHEN 'platform.action.performed.v1' THEN content #>> '{data,outcome}'
            WHEN 'notifier.delivery.changed.v1' THEN content #>> '{data,state}'
       END,
       content #>> '{data,origin,channel}',
       who_salt || who,
       what_salt || what
  FROM payload_before,
       CAST(convert_from(who, 'UTF8') AS json) AS person,
       CAST(convert_from(what, 'UTF8') AS json) AS content;
DROP TABLE payload_before, entry;

-- A bucket goes with its content: that a customer did something on a day is personal as well.
DELETE FROM bucket WHERE state = 'purged';
ALTER TABLE bucket DROP CONSTRAINT bucket_state_check,
    ADD CHECK (state IN ('open', 'closed', 'quarantined'));
CREATE INDEX bucket_by_customer ON bucket (customer_id);

-- How far each producer's own count has come, and which of its numbers have not arrived.
CREATE TABLE producer (
    source       text         PRIMARY KEY,
    low          bigint       NOT NULL,     -- the first number expected
    high         bigint       NOT NULL,     -- the highest that came
    missing      bytea        NOT NULL,     -- those between that did not, as a Roaring bitmap
    reused       bigint       NOT NULL,     -- events under a number that came before
    implausible  bigint       NOT NULL,     -- events under a number too far from the others
    seen_at      timestamptz  NOT NULL,
    CHECK (low <= high)
);
-- What was missing a moment ago: what still is, is late no more but lost.
CREATE TABLE missing_then (
    source   text         NOT NULL REFERENCES producer,
    at       timestamptz  NOT NULL,
    missing  bytea        NOT NULL,
    PRIMARY KEY (source, at)
);

CREATE TABLE cosignature (
    size       bigint       NOT NULL REFERENCES checkpoint,
    witness    text         NOT NULL,
    line       text         NOT NULL,
    signed_at  timestamptz  NOT NULL,
    PRIMARY KEY (size, witness)
);

-- The verifier keys that the log signs with, the present one first.
ALTER TABLE tree ADD keys text[] NOT NULL DEFAULT '{}';

-- Up to which size each tenant was told how many entries it has.
ALTER TABLE tenant ADD told bigint NOT NULL DEFAULT 0;

-- Alerts of the log's own watch that are raised and not resolved.
CREATE TABLE standing_alert (
    fingerprint  text  PRIMARY KEY,
    summary      text  NOT NULL
);

-- How far the continuous verifier has come in its present round.
CREATE TABLE watch (
    alone       boolean      PRIMARY KEY DEFAULT true CHECK (alone),
    position    bigint       NOT NULL DEFAULT 0,
    finished_at timestamptz              -- the end of the last round
);
INSERT INTO watch DEFAULT VALUES;

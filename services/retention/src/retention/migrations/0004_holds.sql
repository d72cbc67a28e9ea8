-- Holds of persons, single records and spans of days; lifted by two people.

CREATE TABLE record_subject (
    record  bigint  NOT NULL REFERENCES record ON DELETE CASCADE,
    token   text    NOT NULL,
    role    text    NOT NULL,
    PRIMARY KEY (record, token, role)
);
CREATE INDEX record_subject_token ON record_subject (token);

ALTER TABLE legal_hold
    ADD subject           text,
    ADD holder            text,
    ADD record_id         text,
    ADD first_day         date,           -- of the day that a record's time runs from
    ADD last_day          date,
    ADD release_asked_by  text,
    ADD release_asked_at  timestamptz,
    ADD protects_until    timestamptz;    -- the end of the grace, once it is lifted
UPDATE legal_hold
   SET protects_until = released_at + interval '15 days',
       release_asked_by = 'unknown: before two had to agree',
       release_asked_at = released_at
 WHERE released_at IS NOT NULL;
DO $$
DECLARE
    old record;
BEGIN
    FOR old IN SELECT conname FROM pg_constraint
                WHERE conrelid = 'legal_hold'::regclass AND contype = 'c' LOOP
        EXECUTE format('ALTER TABLE legal_hold DROP CONSTRAINT %I', old.conname);
    END LOOP;
END $$;
ALTER TABLE legal_hold
    -- Nobody can hold everything at once.
    ADD CHECK (num_nonnulls(customer_id, category, subject, record_id) > 0),
    ADD CHECK (record_id IS NULL OR (holder IS NOT NULL AND category IS NOT NULL)),
    ADD CHECK (holder IS NULL OR record_id IS NOT NULL),
    ADD CHECK (first_day <= last_day),
    ADD CHECK ((released_by IS NULL) = (released_at IS NULL)),
    ADD CHECK ((released_at IS NULL) = (protects_until IS NULL)),
    ADD CHECK ((release_asked_by IS NULL) = (release_asked_at IS NULL)),
    -- Who asks for a release does not grant it.
    ADD CHECK (released_by IS NULL OR released_by <> release_asked_by);

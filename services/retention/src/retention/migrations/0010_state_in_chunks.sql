-- How far the purge has come is kept beside the records, not in them: a purge of ten million would
-- write each of them anew, and look at what it has left behind again and again.

-- All records of a key with an id up to this have been looked at: each is gone or a purge_item.
ALTER TABLE deadline_key ADD issued_to bigint NOT NULL DEFAULT 0;
ALTER TABLE deadline_key ADD floor date;      -- last day of the statutory minimum, if there is one

-- A record that the purge has come to: part of a chunk, or let go until it may be tried again.  No
-- foreign keys, as below: each would be looked up row by row; who deletes a record deletes these.
CREATE TABLE purge_item (
    record      bigint       PRIMARY KEY,
    chunk       uuid,
    not_before  timestamptz
);
CREATE INDEX purge_item_chunk ON purge_item (chunk);
INSERT INTO purge_item
     SELECT id, chunk, not_before FROM record WHERE num_nonnulls(chunk, not_before) > 0;

ALTER TABLE record DROP COLUMN chunk, DROP COLUMN not_before;
CREATE INDEX record_key ON record (key, id);
ALTER TABLE record_subject DROP CONSTRAINT record_subject_record_fkey;

-- Records of each key and holder, as differences that are summed up when they are read: nobody who
-- registers or purges waits for anybody else.
CREATE TABLE key_tally (
    key      bigint  NOT NULL,
    holder   text    NOT NULL,
    records  bigint  NOT NULL
);
INSERT INTO key_tally
     SELECT key, holder, count(*) FROM record WHERE key IS NOT NULL GROUP BY key, holder;
CREATE VIEW key_records AS
     SELECT key, holder, sum(records)::bigint AS records
       FROM key_tally
   GROUP BY key, holder
     HAVING sum(records) > 0;

CREATE FUNCTION count_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_tally
         SELECT key, holder, count(*) FROM added WHERE key IS NOT NULL GROUP BY key, holder;
    RETURN NULL;
END $$;
CREATE FUNCTION count_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_tally
         SELECT key, holder, -count(*) FROM removed WHERE key IS NOT NULL GROUP BY key, holder;
    RETURN NULL;
END $$;
CREATE FUNCTION count_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_tally
         SELECT key, holder, sum(records)
           FROM (SELECT key, holder, 1 AS records FROM added
                 UNION ALL
                 SELECT key, holder, -1 FROM removed) AS both_ways
          WHERE key IS NOT NULL
       GROUP BY key, holder
         HAVING sum(records) <> 0;
    RETURN NULL;
END $$;
CREATE TRIGGER record_added AFTER INSERT ON record
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER record_removed AFTER DELETE ON record
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER record_moved AFTER UPDATE ON record
    REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_moved();

CREATE INDEX purge_chunk_sent ON purge_chunk (sent_at);

-- How many deliveries of a message are in each state is kept once it is done, whoever looks.
ALTER TABLE message ADD COLUMN states jsonb;    -- NULL: they have to be counted
CREATE INDEX message_uncounted ON message (message_id) WHERE done_at IS NOT NULL AND states IS NULL;

-- What changes later is counted anew.  The lock is taken even if nothing is kept: a count that runs
-- in another transaction may miss the change, and is forgotten when it is there.
CREATE FUNCTION forget_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM message
      WHERE done_at IS NOT NULL AND message_id IN (SELECT message_id FROM touched)
      ORDER BY message_id
        FOR UPDATE;
    IF FOUND THEN
        UPDATE message SET states = NULL
         WHERE states IS NOT NULL AND message_id IN (SELECT message_id FROM touched);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_count_planned AFTER INSERT ON delivery
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION forget_count();
CREATE TRIGGER forget_count AFTER UPDATE ON delivery
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION forget_count();

-- Records that lack different facts are not of one key: what is missing would be that of whichever
-- came last.
ALTER TABLE deadline_key ADD lacking text NOT NULL DEFAULT '';
UPDATE deadline_key SET lacking = why WHERE anchor_state = 'indeterminate';
DO $$
DECLARE
    old text;
BEGIN
    SELECT conname INTO STRICT old FROM pg_constraint
     WHERE conrelid = 'deadline_key'::regclass AND contype = 'u';
    EXECUTE format('ALTER TABLE deadline_key DROP CONSTRAINT %I', old);
END $$;
ALTER TABLE deadline_key ADD CONSTRAINT deadline_key_identity
    UNIQUE NULLS NOT DISTINCT (entity, category, scheme, anchor_state, anchor_day, lacking);

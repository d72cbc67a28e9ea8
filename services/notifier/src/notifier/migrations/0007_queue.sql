-- Mails that were planned together wait for the same instant. Entries of equal keys are not put
-- together in one, so that each can be left out by those who come after it was taken.
DROP INDEX delivery_waiting;
CREATE INDEX delivery_waiting ON delivery (priority, next_try_at)
    WITH (deduplicate_items = off) WHERE next_try_at IS NOT NULL;

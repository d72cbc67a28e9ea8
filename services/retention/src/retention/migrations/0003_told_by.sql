-- Which event told of each fact (its source, a space, its id), so that a deadline can be explained
-- down to what was reported.  Facts from before this migration do not know theirs.
ALTER TABLE anchor ADD event text NOT NULL DEFAULT '';
ALTER TABLE service_event ADD event text NOT NULL DEFAULT '';
ALTER TABLE customer_anchor ADD event text NOT NULL DEFAULT '';
ALTER TABLE fiscal_year ADD event text NOT NULL DEFAULT '';

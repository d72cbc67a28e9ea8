-- Restrictions (GDPR article 18), apart from quarantine: what is restricted is still purged on time.
ALTER TABLE contact ADD COLUMN restricted boolean NOT NULL DEFAULT false;   -- no optional mail
ALTER TABLE delivery ADD COLUMN restricted boolean NOT NULL DEFAULT false;  -- not found by search

-- Restrictions (GDPR article 18) are apart from quarantine; objections to marketing (article 21).
ALTER TABLE account ADD COLUMN restricted boolean NOT NULL DEFAULT false;
ALTER TABLE invoice ADD COLUMN restricted boolean NOT NULL DEFAULT false;
ALTER TABLE billing_contact ADD COLUMN restricted boolean NOT NULL DEFAULT false;
ALTER TABLE lead ADD COLUMN restricted boolean NOT NULL DEFAULT false,
                 ADD COLUMN objected boolean NOT NULL DEFAULT false;

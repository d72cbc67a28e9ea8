-- The last day of the law's minimum, by the version of the policy that decided.
ALTER TABLE deadline_key ADD floor date;

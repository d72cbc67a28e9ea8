-- Messages can be meant for the customers in a region.
ALTER TABLE service ADD COLUMN region text;

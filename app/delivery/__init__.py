"""The sending engine and its ledger. It speaks of runs only, and knows neither mailings nor HTTP nor forms."""

"""What the owner sees and says: messages, mailings, their schedule, and when runs begin."""

"""How much chargers may draw: profiles as they are sent, and what follows from several of them at once."""

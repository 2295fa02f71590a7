"""Shared by the forms: sites, costs, tuning."""

"""Shared by the forms: sites, convolutions, costs, tuning."""

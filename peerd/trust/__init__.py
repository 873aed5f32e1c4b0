"""Whom to believe: quorums over signed answers, and admission of strangers. Pure."""

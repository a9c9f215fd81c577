"""supervisor's XML-RPC interface, as the real supervisorctl uses it.

Source: supervisor's documentation, "XML-RPC API Documentation".
"""

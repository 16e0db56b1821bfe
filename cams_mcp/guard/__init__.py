"""May this write go out?"""

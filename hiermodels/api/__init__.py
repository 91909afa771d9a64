"""What users call: one module for each verb, named otherwise than the verb."""

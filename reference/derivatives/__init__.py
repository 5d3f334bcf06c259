"""Further derivatives: Jacobians, tangents, second order, and forward-mode learning."""

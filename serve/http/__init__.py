"""HTTP: routes, limits, formats of bodies."""

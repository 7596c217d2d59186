"""`/v1/*` over HTTP: routes, limits of bodies, headers, disconnects. Depends on router and catalog."""

enum CNIPlaceholder {}

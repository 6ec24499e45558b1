enum DaemonConfigurationPlaceholder {}

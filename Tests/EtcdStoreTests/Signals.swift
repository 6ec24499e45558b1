import Glibc

/// SIGKILL to a program that leads a session of its own, and to what it started.
func signalGroup(_ process: Int32) { _ = kill(-process, SIGKILL) }

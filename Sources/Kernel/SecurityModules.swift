/// What this machine's kernel confines processes with beside capabilities and seccomp.
package enum SecurityModules {
  /// Whether AppArmor is built in and enabled. It takes no other root: the same answer for the life of the machine.
  package static let hasAppArmor = (try? Files.readText("/sys/module/apparmor/parameters/enabled"))??.first == "Y"
  /// Whether SELinux runs with a policy, enforcing or not.
  package static let hasSELinux = Files.exists("/sys/fs/selinux/enforce")
}

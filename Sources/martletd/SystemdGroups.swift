internal import DaemonConfiguration
internal import Kernel
internal import PodRuntime
internal import Systemd

extension SystemdScopes.Placeholder: GroupKeeper.Hold {}

extension GroupKeeper {
  /// What exists where systemd runs the machine. sd_booted(3).
  private static let sign = "/run/systemd/system"

  /// Pods' groups in scopes of systemd.
  /// - Throws: `SettingsError` where systemd does not run this machine and no bus is named.
  static func systemd() throws -> GroupKeeper {
    let bus = try busPath()
    guard bus != nil || Files.exists(sign) else {
      throw SettingsError(
        file: "configuration",
        problem:
          "cgroup-driver: \"systemd\" needs a machine that systemd runs, and \(sign) is missing; use \"cgroupfs\"")
    }
    let scopes = SystemdScopes(hierarchy: try CgroupHierarchy.discover(), busPath: bus ?? SystemdScopes.busPath)
    return GroupKeeper(
      path: { try SystemdScopes.path(slice: $0, podID: $1) }, make: { try await scopes.make($0) },
      remove: { try await scopes.remove($0) })
  }

  /// D-Bus specification, "System message bus": where another address is given.
  private static func busPath() throws -> String? {
    guard let address = environmentVariable("DBUS_SYSTEM_BUS_ADDRESS"), !address.isEmpty else { return nil }
    guard address.hasPrefix("unix:path="), !address.contains(","), !address.contains(";") else {
      throw SettingsError(
        file: "DBUS_SYSTEM_BUS_ADDRESS", problem: "\(address): only unix:path=PATH is understood")
    }
    return String(address.dropFirst("unix:path=".count))
  }
}

extension DaemonSettings {
  /// Parent of pods that name none: the built-in name is a slice with systemd's driver.
  var podParent: String {
    cgroupDriver == .systemd && cgroupParent == DaemonSettings().cgroupParent ? "\(cgroupParent).slice" : cgroupParent
  }
}

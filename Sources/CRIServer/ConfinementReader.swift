internal import CRIModel

/// Reads what AppArmor and SELinux shall confine a container with. Pure; whether the node's kernel can is seen when the
/// container is planned, which refuses what it cannot do.
enum ConfinementReader {
  /// Name of the AppArmor profile; nil for none.
  ///
  /// The runtime's own default is the node's "martlet-default" where somebody has loaded a profile of that name, which the
  /// caller knows; none otherwise, as on kernels without AppArmor.
  static func profile(
    _ security: CRILinuxContainerSecurityContext, hasDefault: Bool
  ) throws(RequestRefusal) -> String? {
    let field = "linux.security_context"
    if security.privileged { return nil }
    let standard = hasDefault ? defaultProfile : nil
    if security.hasApparmor {
      switch security.apparmor.profileType {
      case .runtimeDefault: return standard
      case .unconfined: return nil
      case .localhost: return try name(security.apparmor.localhostRef, "\(field).apparmor.localhost_ref")
      case .UNRECOGNIZED(let number):
        throw .unsupported("\(field).apparmor.profile_type", "type \(number) is unknown")
      }
    }
    switch security.apparmorProfile {
    case "", "runtime/default": return standard
    case "unconfined": return nil
    case let text where text.hasPrefix("localhost/"): return try name(text, "\(field).apparmor_profile")
    default:
      throw .invalid(
        "\(field).apparmor_profile",
        "\(security.apparmorProfile): runtime/default, unconfined or localhost/ and a name")
    }
  }

  static let defaultProfile = "martlet-default"

  /// One of the node's own profiles, whether its name is well formed or not.
  static func asksForProfile(_ security: CRILinuxContainerSecurityContext) -> Bool {
    if security.privileged { return false }
    if security.hasApparmor { return security.apparmor.profileType == .localhost }
    return security.apparmorProfile.hasPrefix("localhost/")
  }

  private static func name(_ text: String, _ field: String) throws(RequestRefusal) -> String {
    let name = text.hasPrefix("localhost/") ? String(text.dropFirst("localhost/".count)) : text
    guard !name.isEmpty, name.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f }) else {
      throw .invalid(field, "\(text.debugDescription): is no name of a profile")
    }
    return name
  }

  /// SELinux labels of the process and of its files; nil where none are asked for. What an option leaves out is as
  /// container-selinux has it.
  static func labels(
    _ options: CRISELinuxOption, _ field: String
  ) throws(RequestRefusal) -> (process: String, mount: String)? {
    let parts = [options.user, options.role, options.type, options.level]
    if parts.allSatisfy(\.isEmpty) { return nil }
    for (name, part) in zip(["user", "role", "type"], parts) where !part.isEmpty {
      let plain = part.utf8.allSatisfy {
        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 95
      }
      guard plain else { throw .invalid("\(field).\(name)", "\(part): letters, digits and _") }
    }
    let level = options.level.isEmpty ? "s0" : options.level
    guard isLevel(level) else { throw .invalid("\(field).level", "\(level): as s0 or s0:c1,c2") }
    let user = options.user.isEmpty ? "system_u" : options.user
    let role = options.role.isEmpty ? "system_r" : options.role
    let type = options.type.isEmpty ? "container_t" : options.type
    return ("\(user):\(role):\(type):\(level)", "\(user):object_r:container_file_t:\(level)")
  }

  /// s0, s0-s15:c0.c1023, s0:c1,c2.
  private static func isLevel(_ text: String) -> Bool {
    let ends = text.split(separator: "-", omittingEmptySubsequences: false)
    return ends.count <= 2
      && ends.allSatisfy { end in
        let parts = end.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, isNumber(parts[0], after: "s") else { return false }
        return parts.count == 1
          || parts[1].split(separator: ",", omittingEmptySubsequences: false).allSatisfy { group in
            group.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { isNumber($0, after: "c") }
          }
      }
  }

  private static func isNumber(_ text: Substring, after letter: Character) -> Bool {
    text.first == letter && text.count > 1 && text.dropFirst().utf8.allSatisfy { (48...57).contains($0) }
  }
}

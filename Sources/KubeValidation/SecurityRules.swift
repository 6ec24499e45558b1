import JSON
import KubeModel

/// Security contexts of containers and pods.
extension FieldErrors {
  mutating func securityContext(_ context: SecurityContext?, hostUsers: Bool, _ path: FieldPath) {
    guard let context else { return }
    identity(path["runAsUser"], context.runAsUser)
    identity(path["runAsGroup"], context.runAsGroup)
    if let procMount = context.procMount {
      choice(path["procMount"], procMount, of: ["Default", "Unmasked"])
      if hostUsers, procMount == "Unmasked" {
        invalid(path["procMount"], procMount, "`hostUsers` must be false to use `Unmasked`")
      }
    }
    seccomp(context.seccompProfile, path["seccompProfile"])
    if context.allowPrivilegeEscalation == false {
      if context.privileged == true {
        invalid(
          path, context.json, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
      }
      if context.capabilities?.add.contains("CAP_SYS_ADMIN") == true {
        invalid(
          path, context.json, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
      }
    }
    appArmor(context.appArmorProfile, path["appArmorProfile"])
  }

  mutating func podSecurityContext(_ spec: PodSpec, _ path: FieldPath) {
    guard let context = spec.securityContext else { return }
    identity(path["fsGroup"], context.fsGroup)
    identity(path["runAsUser"], context.runAsUser)
    identity(path["runAsGroup"], context.runAsGroup)
    for (index, group) in context.supplementalGroups.enumerated() {
      identity(path["supplementalGroups"][index], group)
    }
    if spec.shareProcessNamespace == true, spec.hostPID == true {
      invalid(
        path["shareProcessNamespace"], .bool(true), "ShareProcessNamespace and HostPID cannot both be enabled")
    }
    sysctls(context.sysctls, spec, path["sysctls"])
    choice(path["fsGroupChangePolicy"], context.fsGroupChangePolicy, of: ["Always", "OnRootMismatch"])
    seccomp(context.seccompProfile, path["seccompProfile"])
    appArmor(context.appArmorProfile, path["appArmorProfile"])
    choice(path["supplementalGroupsPolicy"], context.supplementalGroupsPolicy, of: ["Merge", "Strict"])
    choice(path["seLinuxChangePolicy"], context.seLinuxChangePolicy, of: ["MountOption", "Recursive"])
  }

  private mutating func identity(_ path: FieldPath, _ id: Int64?) {
    guard let id else { return }
    for message in NameRules.userOrGroup(id) { invalid(path, id, message) }
  }

  private mutating func seccomp(_ profile: SeccompProfile?, _ path: FieldPath) {
    guard let profile else { return }
    if profile.type.isEmpty { required(path["type"], "type is required when seccompProfile is set") }
    choice(path["type"], profile.type, of: ["Localhost", "RuntimeDefault", "Unconfined"])
    switch (profile.type, profile.localhostProfile) {
    case ("Localhost", let file?): descendingPath(path["localhostProfile"], file)
    case ("Localhost", nil): required(path["localhostProfile"], "must be set when seccomp type is Localhost")
    case (_, .some):
      invalid(path["localhostProfile"], profile.json, "can only be set when seccomp type is Localhost")
    default: break
    }
  }

  /// The longest path of the kernel, without its final zero.
  private static let profileBytesMax = 4095

  private mutating func appArmor(_ profile: AppArmorProfile?, _ path: FieldPath) {
    guard let profile else { return }
    if profile.type.isEmpty { return required(path["type"], "type is required when appArmorProfile is set") }
    choice(path["type"], profile.type, of: ["Localhost", "RuntimeDefault", "Unconfined"])
    let at = path["localhostProfile"]
    guard profile.type == "Localhost" else {
      if let name = profile.localhostProfile { invalid(at, name, "can only be set when AppArmor type is Localhost") }
      return
    }
    guard let name = profile.localhostProfile, !name.isEmpty else {
      return required(at, "must be set when AppArmor type is Localhost")
    }
    if name.first?.isWhitespace == true || name.last?.isWhitespace == true {
      invalid(at, name, "must not be padded with whitespace")
    }
    if name.utf8.count > Self.profileBytesMax { tooLong(at, Self.profileBytesMax) }
  }

  // MARK: sysctls

  private mutating func sysctls(_ sysctls: [Sysctl], _ spec: PodSpec, _ path: FieldPath) {
    var names: Set<String> = []
    for (index, sysctl) in sysctls.enumerated() {
      let at = path[index]["name"]
      let isNew = names.insert(sysctl.name).inserted
      if sysctl.name.isEmpty {
        required(at)
      } else if !Self.isSysctlName(sysctl.name) {
        let segment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
        invalid(
          at, sysctl.name, "must have at most 253 characters and match regex ^(\(segment)[\\./])*\(segment)$")
      } else if !isNew {
        duplicate(at, sysctl.name)
      }
      let name = sysctl.name.replacing("/", with: ".")
      if spec.hostNetwork == true, name.hasPrefix("net.") {
        invalid(at, sysctl.name, "may not be specified when 'hostNetwork' is true")
      }
      let isOfIPC = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."].contains { name.hasPrefix($0) }
      if spec.hostIPC == true, isOfIPC { invalid(at, sysctl.name, "may not be specified when 'hostIPC' is true") }
    }
  }

  private static func isSysctlName(_ name: String) -> Bool {
    guard name.utf8.count <= 253 else { return false }
    return name.utf8.split(omittingEmptySubsequences: false) { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "/") }
      .allSatisfy { segment in Pattern.isDNSLabel(segment.map { $0 == UInt8(ascii: "_") ? UInt8(ascii: "-") : $0 }) }
  }
}

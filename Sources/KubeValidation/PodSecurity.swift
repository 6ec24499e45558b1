import JSON
package import KubeModel

/// Whether a pod keeps to the Pod Security Standards:
/// https://kubernetes.io/docs/concepts/security/pod-security-standards/
package enum PodSecurity {
  package enum Level: String, Sendable {
    case privileged, baseline, restricted
  }

  package static let prefix = "pod-security.kubernetes.io/"

  /// What keeps a pod from a level, each as `reason (detail)`; nil where nothing does.
  package static func violations(_ metadata: ObjectMeta, _ spec: PodSpec, _ level: Level) -> String? {
    guard level != .privileged else { return nil }
    let pod = SecuredPod(metadata, spec)
    var found: [Violation] = pod.baseline(isRestricted: level == .restricted)
    if level == .restricted { found += pod.restricted() }
    return found.isEmpty ? nil : found.map { "\($0.reason) (\($0.detail))" }.joined(separator: ", ")
  }

  fileprivate struct Violation {
    let reason: String
    let detail: String
  }
}

/// A container of any of the three kinds.
private struct SecuredContainer {
  let name: String
  let security: SecurityContext?
  let ports: [ContainerPort]
  let hosts: [String]

  init(_ container: Container) {
    name = container.name
    security = container.securityContext
    ports = container.ports
    let probes = [container.livenessProbe, container.readinessProbe, container.startupProbe]
    let handlers = [container.lifecycle?.postStart, container.lifecycle?.preStop]
    let all =
      probes.map { $0?.httpGet?.host } + probes.map { $0?.tcpSocket?.host } + handlers.map { $0?.httpGet?.host }
      + handlers.map { $0?.tcpSocket?.host }
    hosts = all.compactMap { $0 }
  }

  init(_ container: EphemeralContainer) {
    name = container.name
    security = container.securityContext
    (ports, hosts) = (container.ports, [])
  }
}

private struct SecuredPod {
  private let metadata: ObjectMeta
  private let spec: PodSpec
  private let containers: [SecuredContainer]

  init(_ metadata: ObjectMeta, _ spec: PodSpec) {
    self.metadata = metadata
    self.spec = spec
    containers =
      spec.initContainers.map(SecuredContainer.init) + spec.containers.map(SecuredContainer.init)
      + spec.ephemeralContainers.map(SecuredContainer.init)
  }

  // MARK: words

  private func quoted(_ names: [String]) -> String { names.map { "\"\($0)\"" }.joined(separator: ", ") }

  /// `container "a"`, `containers "a", "b"`
  private func those(_ found: [SecuredContainer]) -> String {
    "\(found.count == 1 ? "container" : "containers") \(quoted(found.map(\.name)))"
  }

  private func violation(
    _ reason: String, _ found: [SecuredContainer], _ must: String
  ) -> [PodSecurity.Violation] {
    found.isEmpty ? [] : [PodSecurity.Violation(reason: reason, detail: "\(those(found)) \(must)")]
  }

  // MARK: baseline

  /// - Parameter isRestricted: without the checks that the restricted level has in a stricter form.
  func baseline(isRestricted: Bool) -> [PodSecurity.Violation] {
    var found = appArmor()
    if !isRestricted {
      found += capabilities(allowed: Self.defaultCapabilities, reason: "non-default capabilities")
    }
    found += hostNamespaces()
    if !isRestricted { found += hostPaths() }
    found += hostPorts() + hostProbes()
    found += violation(
      "privileged", containers.filter { $0.security?.privileged == true },
      "must not set securityContext.privileged=true")
    found += violation(
      "procMount", containers.filter { !["Default", ""].contains($0.security?.procMount ?? "") },
      "must not set securityContext.procMount to \"Unmasked\"")
    found += seLinux()
    if !isRestricted { found += seccomp(mustBeSet: false) }
    found += sysctls() + hostProcess()
    return found
  }

  private static let defaultCapabilities: Set<String> = [
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
  ]

  private func capabilities(allowed: Set<String>, reason: String) -> [PodSecurity.Violation] {
    let (found, added) = forbiddenCapabilities(allowed)
    return violation(reason, found, "must not include \(quoted(added)) in securityContext.capabilities.add")
  }

  private func forbiddenCapabilities(_ allowed: Set<String>) -> (containers: [SecuredContainer], names: [String]) {
    var names: Set<String> = []
    let found = containers.filter { container in
      let extra = (container.security?.capabilities?.add ?? []).filter { !allowed.contains($0) }
      names.formUnion(extra)
      return !extra.isEmpty
    }
    return (found, names.sorted())
  }

  private func appArmor() -> [PodSecurity.Violation] {
    let allowed: Set<String> = ["RuntimeDefault", "Localhost"]
    var details: [String] = []
    if let type = spec.securityContext?.appArmorProfile?.type, !allowed.contains(type) {
      details.append("pod must not set securityContext.appArmorProfile.type to \"\(type)\"")
    }
    let found = containers.filter { container in
      container.security?.appArmorProfile.map { !allowed.contains($0.type) } ?? false
    }
    if !found.isEmpty {
      let types = Set(found.compactMap { $0.security?.appArmorProfile?.type }).sorted()
      details.append("\(those(found)) must not set securityContext.appArmorProfile.type to \(quoted(types))")
    }
    let annotations = metadata.annotations.filter { key, value in
      key.hasPrefix("container.apparmor.security.beta.kubernetes.io/") && value != "" && value != "runtime/default"
        && !value.hasPrefix("localhost/")
    }
    for (key, value) in annotations.sorted(by: { $0.key < $1.key }) {
      details.append("annotation \"\(key)=\(value)\"")
    }
    guard !details.isEmpty else { return [] }
    let reason = details.count == 1 ? "forbidden AppArmor profile" : "forbidden AppArmor profiles"
    return [PodSecurity.Violation(reason: reason, detail: details.joined(separator: ", "))]
  }

  private func hostNamespaces() -> [PodSecurity.Violation] {
    let all = [("hostNetwork", spec.hostNetwork), ("hostPID", spec.hostPID), ("hostIPC", spec.hostIPC)]
    let found = all.filter { $0.1 == true }.map { "\($0.0)=true" }
    return found.isEmpty ? [] : [.init(reason: "host namespaces", detail: found.joined(separator: ", "))]
  }

  private func hostPaths() -> [PodSecurity.Violation] {
    let names = spec.volumes.filter { $0.hostPath != nil }.map(\.name)
    guard !names.isEmpty else { return [] }
    return [.init(reason: "hostPath volumes", detail: "\(names.count == 1 ? "volume" : "volumes") \(quoted(names))")]
  }

  private func hostPorts() -> [PodSecurity.Violation] {
    let found = containers.filter { $0.ports.contains { ($0.hostPort ?? 0) != 0 } }
    let ports = Set(found.flatMap { $0.ports.compactMap(\.hostPort) }).subtracting([0]).sorted()
    let list = ports.map { String($0) }.joined(separator: ", ")
    return violation(
      "hostPort", found, "\(found.count == 1 ? "uses" : "use") \(ports.count == 1 ? "hostPort" : "hostPorts") \(list)")
  }

  private func hostProbes() -> [PodSecurity.Violation] {
    let local: Set<String> = ["", "127.0.0.1", "::1"]
    let found = containers.filter { !Set($0.hosts).isSubset(of: local) }
    let hosts = Set(found.flatMap(\.hosts)).subtracting(local).sorted()
    let word = hosts.count == 1 ? "probe or lifecycle host" : "probe or lifecycle hosts"
    return violation(word, found, "\(found.count == 1 ? "uses" : "use") \(word) \(quoted(hosts))")
  }

  private func seLinux() -> [PodSecurity.Violation] {
    let types: Set<String> = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"]
    var bad: Set<String> = []
    func isBad(_ options: SELinuxOptions?) -> Bool {
      guard let options else { return false }
      var wrong: [String] = []
      if !types.contains(options.type ?? "") { wrong.append("type \"\(options.type ?? "")\"") }
      if !(options.user ?? "").isEmpty { wrong.append("user may not be set") }
      if !(options.role ?? "").isEmpty { wrong.append("role may not be set") }
      bad.formUnion(wrong)
      return !wrong.isEmpty
    }
    let podIsBad = isBad(spec.securityContext?.seLinuxOptions)
    let found = containers.filter { isBad($0.security?.seLinuxOptions) }
    guard podIsBad || !found.isEmpty else { return [] }
    let subjects = (podIsBad ? ["pod"] : []) + (found.isEmpty ? [] : [those(found)])
    let detail =
      "\(subjects.joined(separator: " and ")) set forbidden securityContext.seLinuxOptions: "
      + bad.sorted().joined(separator: "; ")
    return [.init(reason: "seLinuxOptions", detail: detail)]
  }

  private static let safeSysctls: Set<String> = [
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
  ]

  private func sysctls() -> [PodSecurity.Violation] {
    let found = (spec.securityContext?.sysctls ?? []).map(\.name).filter { !Self.safeSysctls.contains($0) }
    return found.isEmpty ? [] : [.init(reason: "forbidden sysctls", detail: found.joined(separator: ", "))]
  }

  private func hostProcess() -> [PodSecurity.Violation] {
    let found = containers.filter { $0.security?.windowsOptions?.hostProcess == true }
    var subjects: [String] = []
    if spec.securityContext?.windowsOptions?.hostProcess == true { subjects.append("pod") }
    if !found.isEmpty { subjects.append(those(found)) }
    guard !subjects.isEmpty else { return [] }
    return [
      .init(
        reason: "hostProcess",
        detail: "\(subjects.joined(separator: " and ")) must not set securityContext.windowsOptions.hostProcess=true")
    ]
  }

  // MARK: restricted

  func restricted() -> [PodSecurity.Violation] {
    var found = violation(
      "allowPrivilegeEscalation != false", containers.filter { $0.security?.allowPrivilegeEscalation != false },
      "must set securityContext.allowPrivilegeEscalation=false")
    found += restrictedCapabilities() + restrictedVolumes() + runAsNonRoot() + runAsUser()
    return found + seccomp(mustBeSet: true)
  }

  private func restrictedCapabilities() -> [PodSecurity.Violation] {
    let keeping = containers.filter { !($0.security?.capabilities?.drop ?? []).contains("ALL") }
    let (adding, names) = forbiddenCapabilities(["NET_BIND_SERVICE"])
    var details: [String] = []
    if !keeping.isEmpty { details.append("\(those(keeping)) must set securityContext.capabilities.drop=[\"ALL\"]") }
    if !adding.isEmpty {
      details.append("\(those(adding)) must not include \(quoted(names)) in securityContext.capabilities.add")
    }
    return details.isEmpty ? [] : [.init(reason: "unrestricted capabilities", detail: details.joined(separator: "; "))]
  }

  private static let volumeTypes: Set<String> = [
    "name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
    "secret",
  ]

  private func restrictedVolumes() -> [PodSecurity.Violation] {
    var (names, types): ([String], Set<String>) = ([], [])
    for volume in spec.volumes {
      let others = (volume.json.object?.keys.map { String($0) } ?? []).filter { !Self.volumeTypes.contains($0) }
      guard !others.isEmpty else { continue }
      names.append(volume.name)
      types.formUnion(others)
    }
    guard !names.isEmpty else { return [] }
    let isOne = names.count == 1
    let word = types.count == 1 ? "restricted volume type" : "restricted volume types"
    return [
      .init(
        reason: "restricted volume types",
        detail: "\(isOne ? "volume" : "volumes") \(quoted(names)) \(isOne ? "uses" : "use") \(word) "
          + quoted(types.sorted()))
    ]
  }

  private func runAsNonRoot() -> [PodSecurity.Violation] {
    let wanted = spec.securityContext?.runAsNonRoot
    var details: [String] = []
    if wanted == false { details.append("pod must not set securityContext.runAsNonRoot=false") }
    let denying = containers.filter { $0.security?.runAsNonRoot == false }
    if !denying.isEmpty { details.append("\(those(denying)) must not set securityContext.runAsNonRoot=false") }
    if details.isEmpty {
      let silent = containers.filter { $0.security?.runAsNonRoot == nil && wanted != true }
      if !silent.isEmpty { details.append("pod or \(those(silent)) must set securityContext.runAsNonRoot=true") }
    }
    return details.isEmpty ? [] : [.init(reason: "runAsNonRoot != true", detail: details.joined(separator: ", "))]
  }

  private func runAsUser() -> [PodSecurity.Violation] {
    var details: [String] = []
    if spec.securityContext?.runAsUser == 0 { details.append("pod must not set runAsUser=0") }
    let found = containers.filter { $0.security?.runAsUser == 0 }
    if !found.isEmpty { details.append("\(those(found)) must not set runAsUser=0") }
    return details.isEmpty ? [] : [.init(reason: "runAsUser=0", detail: details.joined(separator: " and "))]
  }

  private func seccomp(mustBeSet: Bool) -> [PodSecurity.Violation] {
    let allowed: Set<String> = ["RuntimeDefault", "Localhost"]
    var details: [String] = []
    let podType = spec.securityContext?.seccompProfile?.type
    if let podType, !allowed.contains(podType) {
      details.append("pod must not set securityContext.seccompProfile.type to \"\(podType)\"")
    }
    let bad = containers.filter { $0.security?.seccompProfile.map { !allowed.contains($0.type) } ?? false }
    if !bad.isEmpty {
      let types = Set(bad.compactMap { $0.security?.seccompProfile?.type }).sorted()
      details.append("\(those(bad)) must not set securityContext.seccompProfile.type to \(quoted(types))")
    }
    if mustBeSet, podType == nil {
      let silent = containers.filter { $0.security?.seccompProfile == nil }
      if !silent.isEmpty {
        details.append(
          "pod or \(those(silent)) must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"")
      }
    }
    return details.isEmpty ? [] : [.init(reason: "seccompProfile", detail: details.joined(separator: ", "))]
  }
}

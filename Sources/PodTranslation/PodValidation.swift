internal import JSON
package import KubeModel

/// What a pod of a manifest may not say: fields that are not honoured, and values that make no sense or are unsafe.
package struct PodValidation {
  package private(set) var problems: [FieldProblem] = []

  /// Whether an API server has checked the pod and gave it to this node: then what only a manifest may not say is fine.
  private let isServed: Bool

  private var onHostNetwork = false

  private init(isServed: Bool = false) { self.isServed = isServed }

  /// - Parameter pod: as it was written, before defaults.
  package static func problems(in pod: Pod) -> [FieldProblem] {
    var check = PodValidation()
    check.problems = SupportedFields.pod.refusals(in: pod.json)
    check.metadata(pod.metadata)
    check.pod(pod.spec)
    return check.problems
  }

  /// What this node does not do for a pod of an API server.
  package static func problems(inServed pod: Pod) -> [FieldProblem] {
    var check = PodValidation(isServed: true)
    check.problems = SupportedFields.servedPod.refusals(in: pod.json)
    check.metadata(pod.metadata)
    if !Names.isUID(pod.metadata.uid ?? "") { check.invalid("metadata.uid", "cannot be a file's name") }
    check.pod(pod.spec)
    return check.problems
  }

  /// The same for the name of any object.
  package static func problems(in metadata: ObjectMeta) -> [FieldProblem] {
    var check = PodValidation()
    check.metadata(metadata)
    return check.problems
  }

  private mutating func invalid(_ path: String, _ why: String) {
    problems.append(FieldProblem(path: path, kind: .invalid(why)))
  }

  private mutating func refuse(_ path: String, _ why: String) {
    problems.append(FieldProblem(path: path, kind: .notSupported(why)))
  }

  private mutating func metadata(_ metadata: ObjectMeta) {
    guard let name = metadata.name, !name.isEmpty else {
      problems.append(FieldProblem(path: "metadata.name", kind: .required))
      return
    }
    if !Names.isSubdomain(name) { invalid("metadata.name", "\"\(name)\" is not a lower case DNS name") }
    if let namespace = metadata.namespace, !Names.isLabel(namespace) {
      invalid("metadata.namespace", "\"\(namespace)\" is not a lower case DNS label")
    }
    if let uid = metadata.uid, !Names.isUID(uid) { invalid("metadata.uid", "\"\(uid)\" cannot be a file's name") }
  }

  private mutating func pod(_ spec: PodSpec) {
    onHostNetwork = spec.hostNetwork == true
    if spec.containers.isEmpty { problems.append(FieldProblem(path: "spec.containers", kind: .required)) }
    if let os = spec.os, os.name != "linux" { refuse("spec.os.name", "only linux") }
    if spec.hostUsers == false { refuse("spec.hostUsers", "user namespaces") }
    // A server that has tokens writes their volume into the pod; this switch then asks nothing of a node.
    if spec.automountServiceAccountToken == true, !isServed {
      refuse("spec.automountServiceAccountToken", "only false")
    }
    if let hostname = spec.hostname, !Names.isLabel(hostname) { invalid("spec.hostname", "not a DNS label") }
    if let name = spec.hostnameOverride, !Names.isSubdomain(name) { invalid("spec.hostnameOverride", "not a DNS name") }
    if let subdomain = spec.subdomain, !Names.isLabel(subdomain) { invalid("spec.subdomain", "not a DNS label") }
    if let grace = spec.terminationGracePeriodSeconds, !(0...86_400).contains(grace) {
      invalid("spec.terminationGracePeriodSeconds", "must be 0 to 86400 seconds")
    }
    if let deadline = spec.activeDeadlineSeconds, deadline < 1 {
      invalid("spec.activeDeadlineSeconds", "must be positive")
    }
    if spec.shareProcessNamespace == true, spec.hostPID == true {
      invalid("spec.shareProcessNamespace", "cannot go with hostPID")
    }
    for (index, alias) in spec.hostAliases.enumerated() {
      let fine =
        alias.hostnames.allSatisfy(Names.isSubdomain) && alias.ip.allSatisfy { $0.isHexDigit || ".:".contains($0) }
      if !fine { invalid("spec.hostAliases[\(index)]", "needs an address and DNS names") }
    }
    for (index, sysctl) in (spec.securityContext?.sysctls ?? []).enumerated() {
      let plain = sysctl.name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && !"+=".utf8.contains($0) }
      if !plain || sysctl.name.contains("..") { invalid("spec.securityContext.sysctls[\(index)].name", "not a name") }
    }
    seccomp(spec.securityContext?.seccompProfile, "spec.securityContext.seccompProfile")
    volumes(spec)
    var names: Set<String> = []
    for (list, containers) in [("initContainers", spec.initContainers), ("containers", spec.containers)] {
      for (index, container) in containers.enumerated() {
        let path = "spec.\(list)[\(index)]"
        if !Names.isLabel(container.name) { invalid("\(path).name", "\"\(container.name)\" is not a DNS label") }
        if !names.insert(container.name).inserted { invalid("\(path).name", "\"\(container.name)\" stands twice") }
        self.container(container, path, initial: list == "initContainers", spec)
      }
    }
  }

  private mutating func volumes(_ spec: PodSpec) {
    var names: Set<String> = []
    for (index, volume) in spec.volumes.enumerated() {
      let path = "spec.volumes[\(index)]"
      if !Names.isLabel(volume.name) { invalid("\(path).name", "\"\(volume.name)\" is not a DNS label") }
      if !names.insert(volume.name).inserted { invalid("\(path).name", "\"\(volume.name)\" stands twice") }
      let sources = (volume.json.object?.keys ?? []).filter { $0 != "name" }
      if sources.count > 1 { invalid(path, "more than one source: \(sources.joined(separator: ", "))") }
      if sources.isEmpty { invalid(path, "no source; for scratch space: emptyDir: {}") }
      if let medium = volume.emptyDir?.medium, !["", "Memory"].contains(medium) {
        refuse("\(path).emptyDir.medium", "only \"\" and Memory")
      }
      if let limit = volume.emptyDir?.sizeLimit, limit.value < 0 {
        invalid("\(path).emptyDir.sizeLimit", "is negative")
      }
      if let host = volume.hostPath {
        let steps = host.path.split(separator: "/")
        if !host.path.hasPrefix("/") || steps.contains("..") || host.path.utf8.contains(0) {
          invalid("\(path).hostPath.path", "must be absolute, without ..")
        }
      }
      if let image = volume.image, (image.reference ?? "").isEmpty {
        problems.append(FieldProblem(path: "\(path).image.reference", kind: .required))
      }
      for (number, source) in (volume.projected?.sources ?? []).enumerated() {
        guard let token = source.serviceAccountToken else { continue }
        if !Names.isInnerPath(token.path) || token.path.hasPrefix("..") {
          invalid("\(path).projected.sources[\(number)].serviceAccountToken.path", "must be relative, without ..")
        }
      }
      for (place, items) in Self.items(of: volume) {
        for (number, item) in items.enumerated() where !Names.isInnerPath(item) || item.hasPrefix("..") {
          invalid("\(path).\(place)[\(number)].path", "must be relative, without ..")
        }
      }
    }
  }

  /// The paths that projections would write, each list by its place in the volume.
  private static func items(of volume: Volume) -> [(String, [String])] {
    var found: [(String, [String])] = []
    if let secret = volume.secret { found.append(("secret.items", secret.items.map(\.path))) }
    if let map = volume.configMap { found.append(("configMap.items", map.items.map(\.path))) }
    if let files = volume.downwardAPI { found.append(("downwardAPI.items", files.items.map(\.path))) }
    for (index, source) in (volume.projected?.sources ?? []).enumerated() {
      let place = "projected.sources[\(index)]"
      if let secret = source.secret { found.append(("\(place).secret.items", secret.items.map(\.path))) }
      if let map = source.configMap { found.append(("\(place).configMap.items", map.items.map(\.path))) }
      if let files = source.downwardAPI { found.append(("\(place).downwardAPI.items", files.items.map(\.path))) }
    }
    return found
  }

  private mutating func container(_ container: Container, _ path: String, initial: Bool, _ spec: PodSpec) {
    if (container.image ?? "").isEmpty { problems.append(FieldProblem(path: "\(path).image", kind: .required)) }
    if let policy = container.restartPolicy, !["Always", "OnFailure", "Never"].contains(policy) {
      problems.append(
        FieldProblem(
          path: "\(path).restartPolicy",
          kind: .unsupportedValue(found: policy, supported: ["Always", "Never", "OnFailure"])))
    }
    for (index, rule) in container.restartPolicyRules.enumerated() where rule.action != "Restart" {
      refuse("\(path).restartPolicyRules[\(index)].action", "\"\(rule.action)\", only Restart")
    }
    let runsAlong = !initial || container.restartPolicy == "Always"
    let probes = [
      ("livenessProbe", container.livenessProbe), ("readinessProbe", container.readinessProbe),
      ("startupProbe", container.startupProbe),
    ]
    for (name, probe) in probes {
      guard let probe else { continue }
      if !runsAlong { invalid("\(path).\(name)", "an init container that ends has no probes") }
      self.probe(probe, "\(path).\(name)", container)
      if name != "readinessProbe", (probe.successThreshold ?? 1) != 1 {
        invalid("\(path).\(name).successThreshold", "must be 1")
      }
    }
    if !runsAlong, container.lifecycle != nil {
      invalid("\(path).lifecycle", "an init container that ends has no hooks")
    }
    mounts(container, path, spec)
    for (index, port) in container.ports.enumerated() {
      let place = "\(path).ports[\(index)]"
      if !(1...65_535).contains(port.containerPort) { invalid("\(place).containerPort", "must be 1 to 65535") }
      if let host = port.hostPort, !(1...65_535).contains(host) { invalid("\(place).hostPort", "must be 1 to 65535") }
      if spec.hostNetwork == true, let host = port.hostPort, host != port.containerPort {
        invalid("\(place).hostPort", "must be the containerPort on the host's network")
      }
    }
    for (index, variable) in container.env.enumerated() {
      let place = "\(path).env[\(index)]"
      if variable.name.isEmpty || variable.name.utf8.contains(where: { $0 == 0 || $0 == UInt8(ascii: "=") }) {
        invalid("\(place).name", "must not be empty or hold =")
      }
      guard let from = variable.valueFrom else { continue }
      if variable.value.map({ !$0.isEmpty }) ?? false { invalid(place, "has both value and valueFrom") }
      if from.json.object?.count != 1 { invalid("\(place).valueFrom", "needs exactly one source") }
      if let field = from.fieldRef?.fieldPath, !FieldReference.isKnown(field, inVolume: false) {
        refuse("\(place).valueFrom.fieldRef.fieldPath", "\"\(field)\"")
      }
    }
    resources(container.resources, "\(path).resources")
    security(container.securityContext, "\(path).securityContext")
  }

  private mutating func mounts(_ container: Container, _ path: String, _ spec: PodSpec) {
    var targets: Set<String> = []
    for (index, mount) in container.volumeMounts.enumerated() {
      let place = "\(path).volumeMounts[\(index)]"
      if !spec.volumes.contains(where: { $0.name == mount.name }) {
        invalid("\(place).name", "the pod has no volume \"\(mount.name)\"")
      }
      let steps = mount.mountPath.split(separator: "/")
      if !mount.mountPath.hasPrefix("/") || steps.contains("..") || steps.isEmpty || mount.mountPath.utf8.contains(0) {
        invalid("\(place).mountPath", "must be absolute, without .., and not the root")
      }
      if !targets.insert(steps.joined(separator: "/")).inserted {
        invalid("\(place).mountPath", "\"\(mount.mountPath)\" stands twice")
      }
      if let inner = mount.subPath, !inner.isEmpty, !Names.isInnerPath(inner) {
        invalid("\(place).subPath", "must be relative, without ..")
      }
      if mount.subPath != nil, mount.subPathExpr != nil { invalid("\(place).subPathExpr", "cannot go with subPath") }
      if mount.mountPropagation == "Bidirectional", container.securityContext?.privileged != true {
        invalid("\(place).mountPropagation", "Bidirectional needs a privileged container")
      }
      if let recursive = mount.recursiveReadOnly, recursive != "Disabled", mount.readOnly != true {
        invalid("\(place).recursiveReadOnly", "needs readOnly: true")
      }
    }
  }

  private mutating func probe(_ probe: Probe, _ path: String, _ container: Container) {
    let handlers = [probe.exec != nil, probe.httpGet != nil, probe.tcpSocket != nil, probe.grpc != nil].count { $0 }
    if handlers != 1 { invalid(path, "needs exactly one of exec, grpc, httpGet, tcpSocket") }
    host(probe.httpGet?.host, "\(path).httpGet")
    host(probe.tcpSocket?.host, "\(path).tcpSocket")
    if let exec = probe.exec, exec.command.isEmpty {
      problems.append(FieldProblem(path: "\(path).exec.command", kind: .required))
    }
    if let port = probe.grpc?.port, !(1...65_535).contains(port) {
      invalid("\(path).grpc.port", "must be 1 to 65535")
    }
    for (name, port) in [("httpGet", probe.httpGet?.port), ("tcpSocket", probe.tcpSocket?.port)] {
      if let port, container.port(port) == nil {
        invalid("\(path).\(name).port", "no port \"\(port)\" in this container")
      }
    }
    let numbers = [
      ("periodSeconds", probe.periodSeconds), ("timeoutSeconds", probe.timeoutSeconds),
      ("failureThreshold", probe.failureThreshold), ("successThreshold", probe.successThreshold),
    ]
    for (name, value) in numbers where (value ?? 1) < 1 { invalid("\(path).\(name)", "must be positive") }
    if (probe.initialDelaySeconds ?? 0) < 0 { invalid("\(path).initialDelaySeconds", "is negative") }
  }

  /// A probe that names a host would have the node connect to whatever a pod chooses.
  private mutating func host(_ host: String?, _ path: String) {
    guard let host, !host.isEmpty, !["127.0.0.1", "::1", "localhost"].contains(host) || !onHostNetwork else { return }
    refuse("\(path).host", "only the pod's own address, or a loopback address on the host's network")
  }

  private mutating func resources(_ resources: ResourceRequirements, _ path: String) {
    for (place, list) in [("limits", resources.limits), ("requests", resources.requests)] {
      for (name, amount) in list.sorted(by: { $0.key < $1.key }) {
        if amount.value < 0 { invalid("\(path).\(place)[\(name)]", "is negative") }
        let known = ["cpu", "memory"].contains(name) || name.hasPrefix("hugepages-")
        if !known, name != "ephemeral-storage" { refuse("\(path).\(place)[\(name)]", "") }
        if place == "requests", let limit = resources.limits[name], limit.milliValue < amount.milliValue {
          invalid("\(path).requests[\(name)]", "is more than the limit")
        }
      }
    }
  }

  private mutating func security(_ context: SecurityContext?, _ path: String) {
    guard let context else { return }
    seccomp(context.seccompProfile, "\(path).seccompProfile")
    if context.procMount == "Unmasked" { refuse("\(path).procMount", "Unmasked needs a user namespace") }
    if context.privileged == true, context.allowPrivilegeEscalation == false {
      invalid("\(path).allowPrivilegeEscalation", "cannot be false in a privileged container")
    }
    for (name, id) in [("runAsUser", context.runAsUser), ("runAsGroup", context.runAsGroup)] {
      if let id, !(0...Int64(Int32.max)).contains(id) { invalid("\(path).\(name)", "must be 0 to 2147483647") }
    }
  }

  private mutating func seccomp(_ profile: SeccompProfile?, _ path: String) {
    guard let profile, profile.type == "Localhost" else { return }
    if !Names.isInnerPath(profile.localhostProfile ?? "") {
      invalid("\(path).localhostProfile", "must be a relative path, without ..")
    }
  }
}

extension Container {
  /// A port by number or by the name that this container gives it.
  package func port(_ port: IntOrString) -> Int32? {
    switch port {
    case .int(let number): (1...65_535).contains(number) ? number : nil
    case .string(let name): ports.first { $0.name == name }?.containerPort
    }
  }
}

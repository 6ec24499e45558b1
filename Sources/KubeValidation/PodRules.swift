import JSON
import KubeModel

/// Pods and templates of pods: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
extension FieldErrors {
  mutating func createPod(_ pod: Pod) {
    podObject(pod)
    let path = FieldPath("spec")
    if !pod.spec.ephemeralContainers.isEmpty { forbidden(path["ephemeralContainers"], "cannot be set on create") }
    if !(pod.spec.nodeName ?? "").isEmpty, !pod.spec.schedulingGates.isEmpty {
      forbidden(path["nodeName"], "cannot be set until all schedulingGates have been cleared")
    }
  }

  private mutating func podObject(_ pod: Pod) {
    metadata(pod.metadata, .bySubdomain)
    let path = FieldPath("spec")
    podAnnotations(pod.metadata.annotations, pod.spec, FieldPath("metadata")["annotations"])
    podSpec(pod.spec, path, podName: pod.metadata.name, isPod: true)
    for (field, containers) in [("containers", pod.spec.containers), ("initContainers", pod.spec.initContainers)] {
      for (index, container) in containers.enumerated() {
        imageWithoutPadding(container.image, path[field][index]["image"])
      }
    }
  }

  private mutating func imageWithoutPadding(_ image: String?, _ path: FieldPath) {
    guard let image, image.first?.isWhitespace == true || image.last?.isWhitespace == true else { return }
    invalid(path, image, "must not have leading or trailing whitespace")
  }

  private static let mirrorAnnotation = "kubernetes.io/config.mirror"

  mutating func podAnnotations(_ annotations: [String: String], _ spec: PodSpec, _ path: FieldPath) {
    if let mirror = annotations[Self.mirrorAnnotation], (spec.nodeName ?? "").isEmpty {
      invalid(
        path.key(Self.mirrorAnnotation), mirror, "must set spec.nodeName if mirror pod annotation is set")
    }
    let cost = "controller.kubernetes.io/pod-deletion-cost"
    if let value = annotations[cost], Int32(value) == nil {
      invalid(path.key(cost), value, "must be a 32bit integer")
    }
  }

  /// A template within a workload.
  mutating func podTemplate(_ template: PodTemplateSpec, _ path: FieldPath) {
    labels(template.metadata.labels, path["labels"])
    annotations(template.metadata.annotations, path["annotations"])
    podAnnotations(template.metadata.annotations, template.spec, path["annotations"])
    podSpec(template.spec, path["spec"], podName: nil, isPod: false)
    if !template.spec.ephemeralContainers.isEmpty {
      forbidden(path["spec"]["ephemeralContainers"], "ephemeral containers not allowed in pod template")
    }
  }

  // MARK: the spec

  /// - Parameter isPod: false within a template, where some fields get their value only when the pod is made.
  mutating func podSpec(_ spec: PodSpec, _ path: FieldPath, podName: String?, isPod: Bool) {
    let restartPolicy = spec.restartPolicy ?? "Always"
    let good = volumes(spec.volumes, podName: podName, path["volumes"])
    resourceClaims(spec.resourceClaims, path["resourceClaims"])
    let context = PodContext(
      volumes: good, claimNames: Set(spec.resourceClaims.map(\.name)), graceSeconds: spec.terminationGracePeriodSeconds,
      restartPolicy: restartPolicy, hostUsers: spec.hostUsers ?? true)
    containers(spec.containers, context, path["containers"])
    initContainers(spec.initContainers, besides: spec.containers, context, path["initContainers"])
    if let resources = spec.resources { self.resources(resources, [], path["resources"]) }
    hostNetworkPorts(spec, isPod: isPod, path["containers"])
    choice(path["restartPolicy"], spec.restartPolicy, of: ["Always", "OnFailure", "Never"])
    choice(path["dnsPolicy"], spec.dnsPolicy, of: ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"])
    labels(spec.nodeSelector, path["nodeSelector"])
    podSecurityContext(spec, path["securityContext"])
    affinity(spec.affinity, path["affinity"])
    dnsConfig(spec, path["dnsConfig"])
    for (index, gate) in spec.readinessGates.enumerated() {
      qualifiedName(path["readinessGates"][index]["conditionType"], gate.conditionType)
    }
    schedulingGates(spec.schedulingGates, path["schedulingGates"])
    spread(spec.topologySpreadConstraints, path["topologySpreadConstraints"])
    hostUsers(spec, path)
    podNames(spec, path)
    if let seconds = spec.activeDeadlineSeconds, !(1...Int64(Int32.max)).contains(seconds) {
      invalid(path["activeDeadlineSeconds"], seconds, NameRules.range(1, Int64(Int32.max)))
    }
    notNegative(path["terminationGracePeriodSeconds"], spec.terminationGracePeriodSeconds)
    tolerations(spec.tolerations, path["tolerations"])
    hostAliases(spec.hostAliases, path["hostAliases"])
    choice(path["preemptionPolicy"], spec.preemptionPolicy, of: ["PreemptLowerPriority", "Never"])
    for (name, amount) in spec.overhead.sorted(by: { $0.key < $1.key }) {
      quantity(name, amount, path["overhead"].key(name))
    }
    if let os = spec.os {
      if os.name.isEmpty { required(path["os"]["name"], "cannot be empty") }
      choice(path["os"], os.name, of: ["linux", "windows"])
    }
  }

  private mutating func podNames(_ spec: PodSpec, _ path: FieldPath) {
    func subdomain(_ field: String, _ value: String?, _ errors: inout FieldErrors) {
      if let value, !value.isEmpty { errors.dnsSubdomain(path[field], value) }
    }
    subdomain("serviceAccountName", spec.serviceAccountName, &self)
    subdomain("nodeName", spec.nodeName, &self)
    subdomain("priorityClassName", spec.priorityClassName, &self)
    subdomain("runtimeClassName", spec.runtimeClassName, &self)
    if let hostname = spec.hostname, !hostname.isEmpty { dnsLabel(path["hostname"], hostname) }
    if let subdomain = spec.subdomain, !subdomain.isEmpty { dnsLabel(path["subdomain"], subdomain) }
  }

  private mutating func hostNetworkPorts(_ spec: PodSpec, isPod: Bool, _ path: FieldPath) {
    guard spec.hostNetwork == true else { return }
    for (index, container) in spec.containers.enumerated() {
      for (number, port) in container.ports.enumerated() {
        let hostPort = port.hostPort ?? 0
        if isPod || hostPort != 0, hostPort != port.containerPort {
          invalid(
            path[index]["ports"][number]["hostPort"], hostPort,
            "must match `containerPort` when `hostNetwork` is true")
        }
      }
    }
  }

  /// A user namespace and the machine's own namespaces do not go together.
  private mutating func hostUsers(_ spec: PodSpec, _ path: FieldPath) {
    guard spec.hostUsers == false else { return }
    let why = "when `pod.Spec.HostUsers` is false"
    if spec.hostNetwork == true { forbidden(path["hostNetwork"], why) }
    if spec.hostPID == true { forbidden(path["hostPID"], why) }
    if spec.hostIPC == true { forbidden(path["hostIPC"], why) }
  }

  private mutating func dnsConfig(_ spec: PodSpec, _ path: FieldPath) {
    if spec.dnsPolicy == "None" {
      guard let config = spec.dnsConfig else {
        return required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
      }
      if config.nameservers.isEmpty {
        return required(
          path["nameservers"], "must provide at least one DNS nameserver when `dnsPolicy` is None")
      }
    }
    guard let config = spec.dnsConfig else { return }
    if config.nameservers.count > 3 {
      invalid(path["nameservers"], JSONValue(config.nameservers), "must not have more than 3 nameservers")
    }
    for (index, server) in config.nameservers.enumerated() { address(path["nameservers"][index], server) }
    if config.searches.count > 32 {
      invalid(path["searches"], JSONValue(config.searches), "must not have more than 32 search paths")
    }
    if config.searches.joined(separator: " ").utf8.count > 2048 {
      invalid(
        path["searches"], JSONValue(config.searches),
        "must not have more than 2048 characters (including spaces) in the search list")
    }
    for (index, search) in config.searches.enumerated() where search != "." {
      let name = search.hasSuffix(".") ? String(search.dropLast()) : search
      invalid(path["searches"][index], name, NameRules.dnsSubdomainWithUnderscore(name))
    }
    for (index, option) in config.options.enumerated() where (option.name ?? "").isEmpty {
      required(path["options"][index], "must not be empty")
    }
  }

  private mutating func hostAliases(_ aliases: [HostAlias], _ path: FieldPath) {
    for (index, alias) in aliases.enumerated() {
      address(path[index]["ip"], alias.ip)
      for (number, name) in alias.hostnames.enumerated() { dnsSubdomain(path[index]["hostnames"][number], name) }
    }
  }

  private mutating func schedulingGates(_ gates: [PodSchedulingGate], _ path: FieldPath) {
    var names: Set<String> = []
    for (index, gate) in gates.enumerated() {
      qualifiedName(path[index], gate.name)
      if !names.insert(gate.name).inserted { duplicate(path[index], gate.name) }
    }
  }

  private mutating func resourceClaims(_ claims: [PodResourceClaim], _ path: FieldPath) {
    var names: Set<String> = []
    for (index, claim) in claims.enumerated() {
      if claim.name.isEmpty {
        required(path[index]["name"])
      } else if !names.insert(claim.name).inserted {
        duplicate(path[index]["name"], claim.name)
      } else {
        dnsLabel(path[index]["name"], claim.name)
      }
      switch (claim.resourceClaimName, claim.resourceClaimTemplateName) {
      case (nil, nil):
        invalid(
          path[index], claim.json, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
      case (.some, .some):
        invalid(
          path[index], claim.json,
          "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
      default: break
      }
    }
  }

  // MARK: updates

  mutating func updatePod(_ new: Pod, _ old: Pod) {
    let path = FieldPath("spec")
    metadataUpdate(new.metadata, old.metadata)
    podObject(new)
    mirrorUnchanged(new, old)
    for (field, now, before) in [
      ("containers", new.spec.containers, old.spec.containers),
      ("initContainers", new.spec.initContainers, old.spec.initContainers),
    ] where now.count != before.count {
      return forbidden(path[field], "pod updates may not add or remove containers")
    }
    if !activeDeadline(new.spec.activeDeadlineSeconds, old.spec.activeDeadlineSeconds, path["activeDeadlineSeconds"]) {
      return
    }
    addedTolerations(new.spec.tolerations, old.spec.tolerations, path["tolerations"])
    for (index, gate) in new.spec.schedulingGates.enumerated()
    where !old.spec.schedulingGates.contains(where: { $0.name == gate.name }) {
      forbidden(
        path["schedulingGates"][index]["name"],
        "only deletion is allowed, but found new scheduling gate '\(gate.name)'")
    }
    let allowed = withoutAllowedChanges(new.spec, old.spec)
    guard allowed != old.spec else { return }
    forbidden(
      path,
      """
      pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
      `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
      `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
      \(Difference.text(old.spec.json, allowed.json, at: "spec"))
      """)
  }

  /// The new spec with the old value wherever a change is allowed.
  private func withoutAllowedChanges(_ new: PodSpec, _ old: PodSpec) -> PodSpec {
    var spec = new
    for index in spec.containers.indices { spec.containers[index].image = old.containers[index].image }
    for index in spec.initContainers.indices { spec.initContainers[index].image = old.initContainers[index].image }
    spec.activeDeadlineSeconds = old.activeDeadlineSeconds
    spec.schedulingGates = old.schedulingGates
    spec.tolerations = old.tolerations
    if let grace = old.terminationGracePeriodSeconds, grace < 0, spec.terminationGracePeriodSeconds == 1 {
      spec.terminationGracePeriodSeconds = grace
    }
    // A pod that waits for a gate may still narrow where it goes.
    let onlyAdded = old.nodeSelector.allSatisfy { new.nodeSelector[$0.key] == $0.value }
    if !old.schedulingGates.isEmpty, onlyAdded { spec.nodeSelector = old.nodeSelector }
    return spec
  }

  private mutating func mirrorUnchanged(_ new: Pod, _ old: Pod) {
    let key = Self.mirrorAnnotation
    let (now, before) = (new.metadata.annotations[key], old.metadata.annotations[key])
    if now == before { return }
    let what = before == nil ? "add" : "remove or update"
    forbidden(FieldPath("metadata")["annotations"].key(key), "may not \(what) mirror pod annotation")
  }

  /// From none to some, or from some to less. False: nothing more is to be said.
  private mutating func activeDeadline(_ new: Int64?, _ old: Int64?, _ path: FieldPath) -> Bool {
    guard let new else {
      if old != nil { invalid(path, .null, "must not update from a positive integer to nil value") }
      return true
    }
    if !(0...Int64(Int32.max)).contains(new) {
      invalid(path, new, NameRules.range(0, Int64(Int32.max)))
      return false
    }
    if let old, old < new {
      invalid(path, new, "must be less than or equal to previous value")
      return false
    }
    return true
  }

  private mutating func addedTolerations(_ new: [Toleration], _ old: [Toleration], _ path: FieldPath) {
    let isKept = old.allSatisfy { before in
      new.contains { now in
        var same = before
        same.tolerationSeconds = now.tolerationSeconds
        return same == now
      }
    }
    if !isKept { forbidden(path, "existing toleration can not be modified except its tolerationSeconds") }
  }
}

import JSON
import KubeModel

/// StatefulSets, DaemonSets, replication controllers, templates of pods and revisions.
extension FieldErrors {
  // MARK: stateful sets

  mutating func statefulSet(_ set: StatefulSet) {
    metadata(set.metadata, .bySubdomain)
    let (spec, path) = (set.spec, FieldPath("spec"))
    switch spec.podManagementPolicy ?? "" {
    case "OrderedReady", "Parallel", "": break
    case let other: invalid(path["podManagementPolicy"], other, "must be 'OrderedReady' or 'Parallel'")
    }
    statefulSetStrategy(spec.updateStrategy, path["updateStrategy"])
    if let retention = spec.persistentVolumeClaimRetentionPolicy {
      let at = path["persistentVolumeClaimRetentionPolicy"]
      choice(at["whenDeleted"], retention.whenDeleted, of: ["Delete", "Retain"])
      choice(at["whenScaled"], retention.whenScaled, of: ["Delete", "Retain"])
    }
    notNegative(path["replicas"], spec.replicas)
    notNegative(path["minReadySeconds"], spec.minReadySeconds)
    notNegative(path["revisionHistoryLimit"], spec.revisionHistoryLimit)
    notNegative(path["ordinals"]["start"], spec.ordinals?.start)
    template(Self.withClaims(spec), selectedBy: spec.selector, of: "StatefulSet", path)
    for (index, claim) in spec.volumeClaimTemplates.enumerated() {
      claimSpec(claim.spec, path["volumeClaimTemplates"][index]["spec"])
    }
  }

  /// The template with the volumes that each pod gets from the claim templates, so that containers may mount them.
  private static func withClaims(_ spec: StatefulSetSpec) -> PodTemplateSpec {
    var template = spec.template
    var volumes = template.spec.volumes
    for name in spec.volumeClaimTemplates.map(\.metadata.name)
    where name != nil && !volumes.contains(where: { $0.name == name }) {
      var volume = Volume()
      volume.name = name ?? ""
      var claim = PersistentVolumeClaimVolumeSource()
      claim.claimName = volume.name
      volume.persistentVolumeClaim = claim
      volumes.append(volume)
    }
    template.spec.volumes = volumes
    return template
  }

  private mutating func statefulSetStrategy(_ strategy: StatefulSetUpdateStrategy, _ path: FieldPath) {
    switch strategy.type ?? "RollingUpdate" {
    case "OnDelete":
      if let update = strategy.rollingUpdate {
        invalid(path["rollingUpdate"], update.json, "only allowed for updateStrategy 'RollingUpdate'")
      }
    case "RollingUpdate":
      guard let update = strategy.rollingUpdate else { return }
      notNegative(path["rollingUpdate"]["partition"], update.partition)
      guard let unavailable = update.maxUnavailable else { return }
      let at = path["rollingUpdate"]["maxUnavailable"]
      countOrPercent(unavailable, at)
      if unavailable.isZero { invalid(at, unavailable.json, "cannot be 0") }
      atMostAll(unavailable, at)
    default: invalid(path, strategy.json, "must be 'RollingUpdate' or 'OnDelete'")
    }
  }

  mutating func atMostAll(_ value: IntOrString, _ path: FieldPath) {
    if let percent = value.percent, percent > 100 { invalid(path, value.json, "must not be greater than 100%") }
  }

  mutating func updateStatefulSet(_ new: StatefulSet, _ old: StatefulSet) {
    metadataUpdate(new.metadata, old.metadata)
    statefulSet(new)
    var comparable = new.spec
    comparable.replicas = old.spec.replicas
    comparable.ordinals = old.spec.ordinals
    comparable.template = old.spec.template
    comparable.updateStrategy = old.spec.updateStrategy
    comparable.revisionHistoryLimit = old.spec.revisionHistoryLimit
    comparable.persistentVolumeClaimRetentionPolicy = old.spec.persistentVolumeClaimRetentionPolicy
    comparable.minReadySeconds = old.spec.minReadySeconds
    if comparable != old.spec {
      forbidden(
        FieldPath("spec"),
        """
        updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
        'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden
        """)
    }
  }

  mutating func updateStatefulSetStatus(_ new: StatefulSet, _ old: StatefulSet) {
    metadataUpdate(new.metadata, old.metadata)
    let (status, path) = (new.status, FieldPath("status"))
    notNegative(path["observedGeneration"], status.observedGeneration)
    let others = [("currentReplicas", status.currentReplicas), ("updatedReplicas", status.updatedReplicas)]
    counts(
      path, replicas: status.replicas, ready: status.readyReplicas, available: status.availableReplicas,
      others: others)
  }

  // MARK: daemon sets

  mutating func daemonSet(_ set: DaemonSet) {
    metadata(set.metadata, .bySubdomain)
    let (spec, path) = (set.spec, FieldPath("spec"))
    template(spec.template, selectedBy: spec.selector, of: "DaemonSet", path)
    notNegative(path["minReadySeconds"], spec.minReadySeconds)
    notNegative(path["revisionHistoryLimit"], spec.revisionHistoryLimit)
    switch spec.updateStrategy.type ?? "RollingUpdate" {
    case "OnDelete": break
    case "RollingUpdate": daemonSetUpdate(spec.updateStrategy.rollingUpdate, path["updateStrategy"]["rollingUpdate"])
    default: notSupported(path["updateStrategy"], spec.updateStrategy.json, ["RollingUpdate", "OnDelete"])
    }
  }

  private mutating func daemonSetUpdate(_ update: RollingUpdateDaemonSet?, _ path: FieldPath) {
    guard let update else { return }
    let (unavailable, surge) = (update.maxUnavailable ?? .int(1), update.maxSurge ?? .int(0))
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
      countOrPercent(value, path[field])
      atMostAll(value, path[field])
    }
    if !unavailable.isZero, !surge.isZero {
      invalid(path["maxSurge"], surge.json, "may not be set when maxUnavailable is non-zero")
    }
    if unavailable.isZero, surge.isZero { required(path["maxUnavailable"], "cannot be 0 when maxSurge is 0") }
  }

  mutating func updateDaemonSet(_ new: DaemonSet, _ old: DaemonSet) {
    metadataUpdate(new.metadata, old.metadata)
    daemonSet(new)
    immutable(FieldPath("spec")["selector"], new.spec.selector, old.spec.selector)
  }

  mutating func updateDaemonSetStatus(_ new: DaemonSet, _ old: DaemonSet) {
    metadataUpdate(new.metadata, old.metadata)
    let (status, path) = (new.status, FieldPath("status"))
    notNegative(path["currentNumberScheduled"], status.currentNumberScheduled)
    notNegative(path["numberMisscheduled"], status.numberMisscheduled)
    notNegative(path["desiredNumberScheduled"], status.desiredNumberScheduled)
    notNegative(path["numberReady"], status.numberReady)
    notNegative(path["observedGeneration"], status.observedGeneration)
    notNegative(path["updatedNumberScheduled"], status.updatedNumberScheduled)
    notNegative(path["numberAvailable"], status.numberAvailable)
    notNegative(path["numberUnavailable"], status.numberUnavailable)
  }

  // MARK: replication controllers and what else holds a template

  mutating func replicationController(_ controller: ReplicationController) {
    metadata(controller.metadata, .bySubdomain)
    let (spec, path) = (controller.spec, FieldPath("spec"))
    notNegative(path["replicas"], spec.replicas)
    notNegative(path["minReadySeconds"], spec.minReadySeconds)
    if spec.selector.isEmpty { required(path["selector"]) }
    guard let template = spec.template else { return required(path["template"]) }
    let at = path["template"]
    let matches = spec.selector.allSatisfy { template.metadata.labels[$0.key] == $0.value }
    if !spec.selector.isEmpty, !matches {
      invalid(
        at["metadata"]["labels"], JSONValue(template.metadata.labels), "`selector` does not match template `labels`")
    }
    podTemplate(template, at)
    if let policy = template.spec.restartPolicy, policy != "Always" {
      notSupported(at["spec"]["restartPolicy"], policy, ["Always"])
    }
    if template.spec.activeDeadlineSeconds != nil {
      forbidden(
        at["spec"]["activeDeadlineSeconds"], "activeDeadlineSeconds in ReplicationController is not Supported")
    }
  }

  mutating func podTemplateObject(_ object: PodTemplate) {
    metadata(object.metadata, .bySubdomain)
    podTemplate(object.template, FieldPath("template"))
  }

  mutating func controllerRevision(_ revision: ControllerRevision) {
    metadata(revision.metadata, .bySubdomain)
    if revision.data == nil { required(FieldPath("data"), "data is mandatory") }
    notNegative(FieldPath("revision"), revision.revision)
  }

  mutating func updateControllerRevision(_ new: ControllerRevision, _ old: ControllerRevision) {
    metadataUpdate(new.metadata, old.metadata)
    notNegative(FieldPath("revision"), new.revision)
    immutable(FieldPath("data"), new.data, old.data)
  }
}

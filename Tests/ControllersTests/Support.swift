import KubeModel

@testable import Controllers

/// A generator that a seed replays.
struct Dice: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// True once in `n`.
  mutating func oneIn(_ n: Int) -> Bool { Int.random(in: 0..<n, using: &self) == 0 }
}

func time(_ seconds: Int64) -> Time { Time(secondsSinceEpoch: seconds) }

enum Make {
  static func template(image: String, labels: [String: String] = ["app": "web"]) -> PodTemplateSpec {
    var template = PodTemplateSpec()
    template.metadata.labels = labels
    var container = Container()
    container.name = "c"
    container.image = image
    template.spec.containers = [container]
    return template
  }

  static func deployment(
    replicas: Int32 = 3, image: String = "v1", surge: IntOrString = .string("25%"),
    unavailable: IntOrString = .string("25%")
  ) -> Deployment {
    var deployment = Deployment()
    deployment.metadata.name = "web"
    deployment.metadata.namespace = "default"
    deployment.metadata.uid = "d-1"
    deployment.metadata.generation = 1
    deployment.metadata.resourceVersion = "1"
    deployment.spec.replicas = replicas
    deployment.spec.selector.matchLabels = ["app": "web"]
    deployment.spec.template = template(image: image)
    deployment.spec.strategy.type = "RollingUpdate"
    var rolling = RollingUpdateDeployment()
    rolling.maxSurge = surge
    rolling.maxUnavailable = unavailable
    deployment.spec.strategy.rollingUpdate = rolling
    deployment.spec.progressDeadlineSeconds = 600
    deployment.spec.revisionHistoryLimit = 10
    return deployment
  }

  /// A set of `deployment`, with its status as its controller would have it.
  static func set(
    _ deployment: Deployment, image: String, size: Int32, available: Int32? = nil, revision: Int = 1,
    desired: Int32? = nil, max: Int32? = nil
  ) -> ReplicaSet {
    var set = ReplicaSet()
    set.metadata.name = "web-\(image)"
    set.metadata.namespace = "default"
    set.metadata.uid = "rs-\(image)"
    set.metadata.generation = 1
    set.metadata.creationTimestamp = time(Int64(revision))
    set.metadata.ownerReferences = [deployment.asController]
    set.metadata.annotations[DeploymentAnnotations.revision] = String(revision)
    set.metadata.annotations[DeploymentAnnotations.desiredReplicas] = String(desired ?? deployment.spec.replicas ?? 1)
    set.metadata.annotations[DeploymentAnnotations.maxReplicas] =
      String(max ?? (deployment.spec.replicas ?? 1) + Int32(deployment.maxSurge))
    set.spec.replicas = size
    set.spec.template = template(image: image, labels: ["app": "web", TemplateHash.label: image])
    set.spec.selector.matchLabels = ["app": "web", TemplateHash.label: image]
    set.metadata.labels = ["app": "web", TemplateHash.label: image]
    set.status.replicas = size
    set.status.readyReplicas = available ?? size
    set.status.availableReplicas = available ?? size
    set.status.observedGeneration = 1
    return set
  }

  static func pod(
    _ name: String, labels: [String: String] = ["app": "web"], node: String? = "n1", phase: String = "Running",
    readySince: Int64? = 0, address: String? = nil, created: Int64 = 0
  ) -> Pod {
    var pod = Pod()
    pod.metadata.name = name
    pod.metadata.namespace = "default"
    pod.metadata.uid = "uid-\(name)"
    pod.metadata.labels = labels
    pod.metadata.creationTimestamp = time(created)
    pod.spec.nodeName = node
    pod.status.phase = phase
    if let readySince { pod.status.conditions = [condition("True", since: readySince)] }
    if let address {
      var ip = PodIP()
      ip.ip = address
      pod.status.podIP = address
      pod.status.podIPs = [ip]
    }
    return pod
  }

  static func condition(_ status: String, since: Int64) -> PodCondition {
    var condition = PodCondition()
    condition.type = "Ready"
    condition.status = status
    condition.lastTransitionTime = time(since)
    return condition
  }
}

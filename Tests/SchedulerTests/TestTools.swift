import JSON
import KubeClient
import KubeModel
import Logging
import Scheduler
import Testing

let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

func quantities(_ amounts: [String: String]) -> [String: Quantity] {
  amounts.compactMapValues { Quantity($0) }
}

func node(
  _ name: String, _ allocatable: [String: String] = [:], labels: [String: String] = [:], taints: [String] = [],
  isUnschedulable: Bool = false
) -> Node {
  var node = Node()
  node.metadata.name = name
  node.metadata.labels = labels.merging(["kubernetes.io/hostname": name]) { own, _ in own }
  node.spec.unschedulable = isUnschedulable
  // "key=value:Effect"
  node.spec.taints = taints.map { text in
    let parts = text.split(separator: ":")
    let pair = parts[0].split(separator: "=", omittingEmptySubsequences: false)
    var taint = Taint()
    (taint.key, taint.value) = (String(pair[0]), pair.count > 1 ? String(pair[1]) : nil)
    taint.effect = String(parts[1])
    return taint
  }
  node.status.allocatable = quantities(
    ["cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"].merging(allocatable) { _, own in own })
  return node
}

func container(_ requests: [String: String] = [:], limits: [String: String] = [:], always: Bool = false) -> Container {
  var container = Container()
  container.name = "c"
  container.resources.requests = quantities(requests)
  container.resources.limits = quantities(limits)
  if always { container.restartPolicy = "Always" }
  return container
}

func pod(
  _ name: String, _ requests: [String: String] = [:], on nodeName: String? = nil, labels: [String: String] = [:],
  owner: String? = nil, priority: Int32 = 0, change: (inout Pod) -> Void = { _ in }
) -> Pod {
  var pod = Pod()
  (pod.metadata.name, pod.metadata.namespace, pod.metadata.uid) = (name, "default", "uid-\(name)")
  pod.metadata.labels = labels
  if let owner {
    var reference = OwnerReference()
    (reference.apiVersion, reference.kind, reference.name, reference.uid) = ("apps/v1", "ReplicaSet", owner, owner)
    reference.controller = true
    pod.metadata.ownerReferences = [reference]
  }
  pod.spec.schedulerName = "default-scheduler"
  pod.spec.containers = [container(requests)]
  pod.spec.nodeName = nodeName
  pod.spec.priority = priority
  change(&pod)
  return pod
}

func facts(_ name: String, _ requests: [String: String] = [:], change: (inout Pod) -> Void = { _ in }) -> PodFacts {
  PodFacts(pod(name, requests, change: change))
}

func toleration(_ key: String?, _ operator: String? = nil, _ value: String? = nil, effect: String? = nil) -> Toleration
{
  var toleration = Toleration()
  (toleration.key, toleration.operator, toleration.value, toleration.effect) = (key, `operator`, value, effect)
  return toleration
}

func requirement(_ key: String, _ operator: String, _ values: [String] = []) -> NodeSelectorRequirement {
  var requirement = NodeSelectorRequirement()
  (requirement.key, requirement.operator, requirement.values) = (key, `operator`, values)
  return requirement
}

/// What is decided among nodes that hold nothing else.
func decide(_ pod: PodFacts, _ nodes: [NodeSnapshot], seed: UInt64 = 1) -> Decision {
  var random = SeededRandom(seed: seed)
  return NodeChoice().decide(pod, nodes: nodes, random: &random)
}

func obstacles(_ pod: PodFacts, _ nodes: [NodeSnapshot]) -> String { decide(pod, nodes).message }

import KubeModel

@testable import Controllers

/// Pods under a node that a seed drives: they start, fall ill, end and go in their own time.
struct PodWorld {
  var dice: Dice
  var pods: [String: Pod] = [:]
  var now: Int64 = 1_000_000
  var made = 0
  /// Whether pods that run may become not ready, fail, or be deleted by somebody.
  var isTroubled = true
  /// Whether pods end by themselves, and how often in vain.
  var ends = false
  var failsOneIn = 4
  var problems: [String] = []

  init(seed: UInt64) { dice = Dice(seed: seed) }

  var all: [Pod] { pods.values.sorted { ($0.metadata.name ?? "") < ($1.metadata.name ?? "") } }
  var time: Time { Time(secondsSinceEpoch: now) }

  mutating func create(_ pod: Pod) {
    made += 1
    var pod = pod
    if pod.metadata.name == nil { pod.metadata.name = "\(pod.metadata.generateName ?? "")\(made)" }
    let name = pod.metadata.name ?? ""
    if pods[name] != nil { problems.append("\(name) made twice") }
    pod.metadata.uid = "uid-\(made)"
    pod.metadata.creationTimestamp = time
    pod.status.phase = "Pending"
    pods[name] = pod
  }

  mutating func delete(_ pod: Pod) {
    guard let name = pod.metadata.name, pods[name]?.metadata.uid == pod.metadata.uid else { return }
    let time = time
    if pods[name]?.metadata.deletionTimestamp == nil { pods[name]?.metadata.deletionTimestamp = time }
  }

  mutating func release(_ pod: Pod) { pods[pod.metadata.name ?? ""]?.metadata.finalizers = [] }

  private mutating func set(ready: Bool, _ name: String) {
    pods[name]?.status.phase = "Running"
    pods[name]?.status.conditions = [Make.condition(ready ? "True" : "False", since: now)]
  }

  private mutating func end(_ name: String, failed: Bool) {
    pods[name]?.status.phase = failed ? "Failed" : "Succeeded"
    pods[name]?.status.conditions = [Make.condition("False", since: now)]
    var status = ContainerStatus()
    status.name = "c"
    var terminated = ContainerStateTerminated()
    (terminated.exitCode, terminated.finishedAt) = (failed ? 1 : 0, time)
    status.state.terminated = terminated
    pods[name]?.status.containerStatuses = [status]
  }

  /// One thing happens to one pod, and time passes.
  mutating func step() {
    now += Int64.random(in: 0...3, using: &dice)
    guard let name = pods.keys.sorted().randomElement(using: &dice), let pod = pods[name] else { return }
    if pod.metadata.isDeleting {
      if pod.metadata.finalizers.isEmpty {
        pods[name] = nil
      } else if !pod.isFinished {
        end(name, failed: true)
      }
      return
    }
    if pod.isFinished { return }
    if pod.status.phase == "Pending" {
      if (pod.spec.nodeName ?? "").isEmpty { pods[name]?.spec.nodeName = DaemonSet.node(of: pod) ?? "n1" }
      return set(ready: true, name)
    }
    if ends, dice.oneIn(2) { return end(name, failed: failsOneIn > 0 && dice.oneIn(failsOneIn)) }
    guard isTroubled else { return set(ready: true, name) }
    switch Int.random(in: 0..<10, using: &dice) {
    case 0: set(ready: false, name)
    case 1: end(name, failed: true)
    case 2: delete(pod)
    default: if !pod.isReady { set(ready: true, name) }
    }
  }
}

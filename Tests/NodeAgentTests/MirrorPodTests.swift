import JSON
import Kernel
import KubeModel
import NodeAgent
import Synchronization
import TestSupport
import Testing

@Suite struct MirrorPodTests {
  private static let path = ServedNode.path("web-n1")
  private static func write(_ node: ServedNode, _ text: String) throws {
    try Files.writeAtomically("\(node.scratch.path)/manifests/web.yaml", Array(text.utf8))
  }

  private static func manifest(_ image: String = "web:1", _ more: String = "") -> String {
    """
    apiVersion: v1
    kind: Pod
    metadata: {name: web, labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      priority: 7
      containers: [{name: c, image: "\(image)"\(more)}]
    """
  }

  private static func node(_ manifest: String = manifest()) throws -> ServedNode {
    let node = try ServedNode()
    try node.api.put(
      "/api/v1/nodes/n1", #"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1","uid":"node-uid"}}"#)
    try write(node, manifest)
    return node
  }

  @Test func aPodOfAFileIsShownWithItsStatusAndItsEvents() async throws {
    let node = try Self.node()
    try await node.withAgent { agent, _ in
      try await node.wait("ready") { $0.isReady("web-n1") }
      let mirror = try #require(node.api.get(Self.path))
      let annotations = mirror["metadata"]?["annotations"]
      let uid = try #require(annotations?["kubernetes.io/config.mirror"]?.string)
      #expect(annotations?["kubernetes.io/config.hash"]?.string == uid)
      #expect(annotations?["kubernetes.io/config.source"] == "file")
      #expect(mirror["metadata"]?["labels"]?["app"] == "web")
      #expect(mirror["metadata"]?["ownerReferences"]?[0]?["uid"] == "node-uid")
      #expect(mirror["spec"]?["nodeName"] == "n1")
      #expect(mirror["spec"]?["priority"] == nil)
      #expect(mirror["spec"]?["tolerations"] == [["operator": "Exists", "effect": "NoExecute"]])
      #expect(node.status("web-n1")?["podIP"]?.string?.hasPrefix("10.0.0.") == true)
      #expect(await agent.status.pods.map(\.pod.metadata.name) == ["web-n1"])
      try await node.wait("told") { $0.events.contains("Started: Container started") }
      // kubectl describe asks for the events of the pod of the file.
      #expect(node.api.list("events").allSatisfy { $0["involvedObject"]?["uid"]?.string == uid })
    }
    try node.finish()
  }

  @Test func whoDeletesTheMirrorGetsAnotherAndStopsNothing() async throws {
    let node = try Self.node()
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web-n1") }
      let first = node.api.get(Self.path)?["metadata"]?["uid"]
      node.api.delete(pod: Self.path, graceSeconds: 30)
      try await node.wait("another") {
        $0.isReady("web-n1") && $0.api.get(Self.path)?["metadata"]?["uid"] != first
          && $0.api.get(Self.path)?["metadata"]?["deletionTimestamp"] == nil
      }
      let second = node.api.get(Self.path)?["metadata"]?["uid"]
      node.api.remove(Self.path)
      try await node.wait("a third") { $0.isReady("web-n1") && $0.api.get(Self.path)?["metadata"]?["uid"] != second }
      #expect(node.runtime.starts == ["c.0"])
      #expect(node.runtime.state.withLock { $0.stops.isEmpty })
    }
    try node.finish()
  }

  @Test func aChangedFileIsAnotherPodWithAnotherMirrorAndARemovedOneNone() async throws {
    let node = try Self.node()
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web-n1") }
      let first = node.api.get(Self.path)?["metadata"]?["uid"]
      try Self.write(node, Self.manifest("job:1"))
      try await node.wait("changed") {
        $0.isReady("web-n1") && $0.api.get(Self.path)?["spec"]?["containers"]?[0]?["image"] == "job:1"
      }
      #expect(node.api.get(Self.path)?["metadata"]?["uid"] != first)
      #expect(node.withdrawn.withLock { $0 } == [first?.string ?? ""])
      try Files.remove("\(node.scratch.path)/manifests/web.yaml")
      try await node.wait("gone") { $0.api.get(Self.path) == nil && $0.runtime.isEmpty }
    }
    try node.finish()
  }

  @Test func theMirrorOfAFileThatWentWhileNobodyLookedGoes() async throws {
    let node = try Self.node()
    try await node.withAgent { _, _ in try await node.wait("ready") { $0.isReady("web-n1") } }
    try Files.remove("\(node.scratch.path)/manifests/web.yaml")
    try await node.withAgent { _, _ in
      try await node.wait("gone") { $0.api.get(Self.path) == nil && $0.runtime.isEmpty }
    }
    try node.finish()
  }

  @Test func aPodOfAFileThatUsesASecretOfTheNodeRunsWithoutBeingShown() async throws {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: v}\n---\n"
    let node = try Self.node(secret + Self.manifest("web:1", ", envFrom: [{secretRef: {name: s}}]"))
    try await node.withAgent { _, _ in
      try await node.wait("runs") { $0.runtime.starts == ["c.0"] }
      try node.put("other")
      try await node.wait("another") { $0.isReady("other") }
      #expect(node.api.get(Self.path) == nil)
    }
    try node.finish()
  }

  @Test func aPodOfTheServerWithTheNameOfAPodOfAFileIsNotTakenForItsMirror() {
    var foreign = Pod()
    #expect(MirrorPod.step(own: "a", shown: foreign) == .nothing)
    foreign.metadata.annotations[MirrorPod.mirrorKey] = "a"
    #expect(MirrorPod.step(own: "a", shown: foreign) == .report)
    #expect(MirrorPod.step(own: "b", shown: foreign) == .delete)
    #expect(MirrorPod.step(own: nil, shown: foreign) == .delete)
    #expect(MirrorPod.step(own: nil, shown: nil) == .nothing)
    #expect(MirrorPod.step(own: "a", shown: nil) == .create)
  }
}

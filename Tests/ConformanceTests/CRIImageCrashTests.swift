import CRIClient
import CRIModel
import Kernel
import SwiftProtobuf
import TestSupport
import Testing

/// The daemon killed while it unpacks or removes an image: what the next one finds is whole or absent.
@Suite struct CRIImageCrashTests {
  /// An image of four layers with some thousand files.
  private static let archiveScript = """
    cd "$1"; mkdir -p archive layers; sums=; names=
    for number in 1 2 3 4; do
      mkdir -p layers/$number/data
      for file in $(seq 600); do echo "$number $file" > layers/$number/data/$number-$file; done
      tar --owner=0 --group=0 -C layers/$number -cf archive/$number.tar .
      sums="$sums,\\"sha256:$(sha256sum archive/$number.tar | cut -d ' ' -f 1)\\""; names="$names,\\"$number.tar\\""
    done
    printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%s]}}' "${sums#,}" > archive/config.json
    printf '[{"Config":"config.json","RepoTags":["localhost/crash:test"],"Layers":[%s]}]' "${names#,}" > archive/manifest.json
    tar -C archive -cf crash.tar .
    rm -r layers archive
    """

  @Test func anImageIsWholeOrAbsentWhereverTheDaemonWasKilled() async throws {
    try await CRINode.with { node, _ in
      let made = try await ChildProcess.run(
        "/bin/sh", arguments: ["sh", "-euc", Self.archiveScript, "sh", node.path],
        environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], timeoutSeconds: 60)
      try #require(made.status == .exited(0), "\(String(decoding: made.errorOutput, as: UTF8.self))")
      var found: Set<Bool> = []
      // From before the first entry is written to after the record is.
      for milliseconds in [1, 5, 10, 20, 40, 80, 160, 320, 1_000] {
        try await Self.crash(node, after: milliseconds) { client in
          _ = try await client.importImage(
            MartletImportImageRequest.with { $0.path = "\(node.path)/crash.tar" }
          ) { _ in }
        }
        found.insert(try await Self.isWhole(node))
        try await Self.crash(node, after: milliseconds / 10) { client in
          try await client.removeImage("localhost/crash:test")
        }
        _ = try await Self.isWhole(node)
        try await node.connected { try await $0.removeImage("localhost/crash:test") }
      }
      #expect(found == [true, false], "the moments are all on one side: \(found)")
    }
  }

  /// Begins `work`, kills the daemon so long after, and starts it again.
  private static func crash(
    _ node: CRINode, after milliseconds: Int, _ work: @escaping @Sendable (CRIClient) async throws -> Void
  ) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      // Cut off with its daemon: an error is what it may well end with.
      group.addTask { try? await node.connected(work) }
      try await Task.sleep(for: .milliseconds(milliseconds))
      try node.kill()
      group.cancelAll()
    }
    try node.start()
  }

  /// The image is there with every file of every layer; otherwise it is not listed, and nothing of it is left.
  private static func isWhole(_ node: CRINode) async throws -> Bool {
    let names = try await node.connected { client in try await client.listImages().flatMap(\.repoTags) }
    let isThere = names.contains("localhost/crash:test")
    let layers = try Directory(path: "\(node.path)/root/layers").list().map(\.name)
    // That of the image which every node of these tests has, and ours.
    #expect(layers.count == (isThere ? 5 : 1), "\(layers)")
    let records = try Directory(path: "\(node.path)/root/images/layers").list().map(\.name)
    #expect(Set(records) == Set(layers.map { "\($0).json" }))
    for layer in layers where isThere && Files.exists("\(node.path)/root/layers/\(layer)/data") {
      #expect(try Directory(path: "\(node.path)/root/layers/\(layer)/data").list().count == 600)
    }
    for place in ["blobs", "records", "skeletons", "set-aside"] {
      let left = try Directory(path: "\(node.path)/root/images/\(place)").list().map(\.name)
      #expect(!left.contains { $0.contains("tmp") } && (place != "set-aside" || left == []), "\(place): \(left)")
    }
    return isThere
  }
}

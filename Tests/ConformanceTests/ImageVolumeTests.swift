import CRIClient
import CRIModel
import Kernel
import SwiftProtobuf
import TestSupport
import Testing

/// Volumes that come from images: what a VOLUME starts with, and images mounted beside a container's own.
@Suite struct ImageVolumeTests {
  /// Declares volumes of every kind, honest and not.
  private static let archiveScript = """
    cd "$1"; mkdir -p rootfs/bin rootfs/data/inner rootfs/covered rootfs/usr/share archive
    cp /bin/busybox rootfs/bin/busybox
    for applet in sh cat sleep ls stat grep touch find; do ln rootfs/bin/busybox rootfs/bin/$applet; done
    echo first > rootfs/data/file; echo deep > rootfs/data/inner/file; echo of-image > rootfs/covered/file
    echo i > rootfs/usr/share/of-image
    chown -R 1000:1001 rootfs/data; chmod 2750 rootfs/data; chmod 4711 rootfs/data/file
    ln -s ../../../../../usr/share rootfs/hostile
    tar --numeric-owner -C rootfs -cf archive/layer.tar .
    sum=$(sha256sum archive/layer.tar | cut -d ' ' -f 1)
    volumes='{"/data":{},"/data/inner/":{},"/covered":{},"/hostile":{},"/x/../../../../fresh":{}}'
    printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Volumes":%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$volumes" "$sum" > archive/config.json
    printf '[{"Config":"config.json","RepoTags":["localhost/volumes:test"],"Layers":["layer.tar"]}]' > archive/manifest.json
    tar -C archive -cf volumes.tar .
    rm -r rootfs archive
    """

  private static func importImage(_ node: CRINode, _ client: CRIClient) async throws {
    let outcome = try await ChildProcess.run(
      "/bin/sh", arguments: ["sh", "-euc", archiveScript, "sh", node.path],
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], timeoutSeconds: 60)
    try #require(outcome.status == .exited(0), "\(String(decoding: outcome.errorOutput, as: UTF8.self))")
    _ = try await client.importImage(MartletImportImageRequest.with { $0.path = "\(node.path)/volumes.tar" }) { _ in }
  }

  private static func said(_ client: CRIClient, _ id: String, _ script: String) async throws -> String {
    let result = try await client.execSync(id, command: ["sh", "-c", script])
    return String(decoding: result.stdout + result.stderr, as: UTF8.self)
  }

  @Test func eachContainerGetsVolumesOfItsOwnFilledFromItsImageAndNothingElse() async throws {
    try await CRINode.with { node, client in
      try await Self.importImage(node, client)
      let config = node.pod("volumes")
      let pod = try await client.runPodSandbox(config)
      try Files.makeDirectories("\(node.path)/mine")
      try Files.writeAtomically("\(node.path)/mine/of-host", [])
      var container = node.container("first", ["sleep", "1000"])
      container.image.image = "localhost/volumes:test"
      container.mounts = [
        CRIMount.with {
          $0.hostPath = "\(node.path)/mine"
          $0.containerPath = "/covered/"
        }
      ]
      let first = try await node.run(client, in: pod, config, container)
      #expect(
        try await Self.said(client, first, "cd /data; stat -c '%a %u %g' . file") == "2750 1000 1001\n4711 1000 1001\n")
      #expect(try await Self.said(client, first, "cat /data/file /data/inner/file") == "first\ndeep\n")
      #expect(
        try await Self.said(client, first, "ls /covered /hostile /fresh")
          == "/covered:\nof-host\n\n/fresh:\n\n/hostile:\nof-image\n")
      let mounts = try await Self.said(client, first, "cat /proc/mounts")
      for path in ["/data", "/data/inner", "/covered", "/usr/share", "/fresh"] {
        #expect(mounts.split(separator: "\n").contains { $0.split(separator: " ")[1] == path }, "\(path) in \(mounts)")
      }
      _ = try await Self.said(client, first, "echo mine > /data/file; touch /fresh/new")
      let own = "\(node.path)/root/containers/\(first)/volumes"
      #expect(try Directory(path: own).list().count == 4)
      container.metadata.name = "second"
      container.logPath = "second.log"
      let second = try await node.run(client, in: pod, config, container)
      #expect(try await Self.said(client, second, "cat /data/file; ls /fresh") == "first\n")
      try await client.stopContainer(first, graceSeconds: 0)
      try await client.removeContainer(first)
      #expect(!Files.exists(own))
      #expect(try Directory(path: "\(node.path)/mine").list().map(\.name) == ["of-host"])
    }
  }

  @Test func aVolumeThatWasFilledIsNotFilledAgainByALaterDaemon() async throws {
    try await CRINode.with { node, client in
      try await Self.importImage(node, client)
      let config = node.pod("later")
      let pod = try await client.runPodSandbox(config)
      var container = node.container("main", ["sleep", "1000"])
      container.image.image = "localhost/volumes:test"
      let id = try await client.createContainer(podSandboxID: pod, config: container, sandboxConfig: config)
      let volumes = "\(node.path)/root/containers/\(id)/volumes"
      // As if it had been used: what a later daemon finds is what the container gets.
      try Files.writeAtomically("\(volumes)/0/mark", [])
      try Files.makeDirectories("\(volumes)/.tmp-1/half")
      try node.kill()
      try node.start()
      try await node.connected { client in
        try await client.startContainer(id)
        var seen = ""
        for path in ["/data", "/covered", "/fresh"] { seen += try await Self.said(client, id, "ls \(path)") }
        #expect(seen.contains("mark") && !seen.contains("half"), "\(seen)")
        try await client.removePodSandbox(pod)
      }
    }
  }
}

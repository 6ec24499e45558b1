import Kernel
import Synchronization
import TestSupport
import Testing

/// `martlet server --etcd-servers`: kubectl finds the same server, whichever of server and etcd was killed meanwhile.
@Suite(.serialized) struct KubeEtcdTests {
  /// A server on loopback, with nothing of its own but certificates.
  private final class Server: Sendable {
    let path: String
    private let options: [String]
    private let process = Mutex<ChildProcess?>(nil)

    init(_ path: String, _ options: [String]) throws {
      self.path = path
      self.options = options + ["--secure-port", "\(try EtcdProcess.freePort())", "--no-scheduler"]
      try start()
    }

    func start() throws {
      try? Files.remove("\(path)/log")
      let log = try Files.open("\(path)/log", flags: OpenFlags.writeOnly | OpenFlags.create, mode: 0o600)
      let output = log.withRaw { $0 }
      try process.withLock {
        $0 = try ChildProcess.start(
          try BuiltPrograms.path("martlet"),
          arguments: ["martlet", "server", "--root", "\(path)/root", "--run", "\(path)/run"] + options,
          environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(path)"], stdio: [nil, output, output])
      }
    }

    /// SIGKILL.
    func kill() { process.withLock { $0 = nil } }

    var log: String { ((try? Files.readText("\(path)/log")) ?? nil) ?? "" }

    func waitUntilReady() async throws {
      let deadline = ContinuousClock.now + .seconds(30)
      while !log.contains("The API is served") {
        guard ContinuousClock.now < deadline else { throw KubeNode.Failure(description: "martlet server: \(log)") }
        try await Task.sleep(for: .milliseconds(20))
      }
    }

    func run(_ script: String) async throws -> CLINode.Answer {
      let package = Files.parent(of: Files.parent(of: Files.parent(of: #filePath)))
      let clients = environmentVariable("MARTLET_CLIENTS") ?? "\(package)/.build/clients"
      let outcome = try await ChildProcess.run(
        "/bin/sh", arguments: ["sh", "-c", "cd \(path)\n\(script)"],
        environment: [
          "PATH=\(clients):/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(path)",
          "KUBECONFIG=\(path)/root/server/admin.kubeconfig", "ETCDCTL_API=3",
        ], timeoutSeconds: 60)
      return CLINode.Answer(
        code: outcome.status.code, output: String(decoding: outcome.output, as: UTF8.self),
        errors: String(decoding: outcome.errorOutput, as: UTF8.self))
    }
  }

  /// Runs `body` with an etcd and a server on it.
  private func with(_ options: [String] = [], _ body: (EtcdProcess, Server) async throws -> Void) async throws {
    let directory = try TestDirectory()
    let etcd = try await EtcdProcess(directory: directory.path)
    let server = try Server(directory.path, ["--etcd-servers", etcd.url] + options)
    do {
      try await server.waitUntilReady()
      try await body(etcd, server)
    } catch {
      server.kill()
      etcd.kill()
      try directory.remove()
      throw error
    }
    server.kill()
    etcd.kill()
    try directory.remove()
  }

  @Test func kubectlWorksAsOnAFileAndTheObjectsAreInEtcd() async throws {
    try await with { etcd, server in
      let watching = Task {
        try await server.run("timeout 8 kubectl get cm -w --output-watch-events -o name | grep -m 3 -E 'one|two'")
      }
      try await Task.sleep(for: .seconds(1))
      let made = try await server.run(
        """
        kubectl create cm one --from-literal=a=1 && kubectl create cm two && kubectl patch cm one -p '{"data":{"a":"2"}}' &&
        kubectl get cm one -o 'jsonpath={.data.a}' && kubectl get cm --chunk-size=1 -o name && kubectl delete cm one two
        """)
      #expect(made.code == 0, "\(made) \(server.log)")
      #expect(
        made.output == """
          configmap/one created
          configmap/two created
          configmap/one patched
          2configmap/kube-root-ca.crt
          configmap/one
          configmap/two
          configmap "one" deleted from default namespace
          configmap "two" deleted from default namespace

          """, "\(made)")
      let watched = try await watching.value
      #expect(watched.output.split(separator: "\n").count == 3, "\(watched)")
      let keys = try await server.run(
        "kubectl create cm kept && etcdctl --endpoints \(etcd.url) get --prefix --keys-only /martlet/configmaps/default/"
      )
      #expect(keys.output.contains("/martlet/configmaps/default/kept\n"), "\(keys)")
      #expect(!Files.exists("\(server.path)/root/server/store.db"))
    }
  }

  @Test func whatWasAcknowledgedIsThereWhoeverIsKilled() async throws {
    try await with { etcd, server in
      // Each line that kubectl writes is an acknowledged write.
      let load = """
        i=0; while [ ! -e stop ] && [ $i -lt 400 ]; do i=$((i+1));
          kubectl create cm KIND-$i -o name 2>/dev/null >>acknowledged || sleep 0.1; done
        """
      let working = ["a", "b"].map { kind in
        Task { try await server.run(load.replacing("KIND", with: kind)) }
      }
      for _ in 0..<2 {
        try await Task.sleep(for: .milliseconds(900))
        server.kill()
        try server.start()
        try await server.waitUntilReady()
        try await Task.sleep(for: .milliseconds(700))
        etcd.kill()
        try await etcd.start()
      }
      try await Task.sleep(for: .milliseconds(500))
      try Files.writeAtomically("\(server.path)/stop", [])
      for one in working { _ = try await one.value }
      let compared = try await server.run(
        "kubectl get cm -o name | sort >there; sort acknowledged >said; comm -13 there said; wc -l <said")
      let lines = compared.output.split(separator: "\n")
      #expect(lines.count == 1, "acknowledged and lost: \(compared.output) \(compared.errors)")
      #expect(Int(lines.last?.trimming { $0 == " " } ?? "") ?? 0 > 0, "nothing was written: \(compared)")
    }
  }

  @Test func secretsAreEncryptedInEtcdToo() async throws {
    try await with(["--encrypt-secrets"]) { etcd, server in
      let made = try await server.run(
        """
        kubectl create secret generic s --from-literal=password=hunter2222222222 >/dev/null
        etcdctl --endpoints \(etcd.url) get --prefix /martlet/secrets/ | grep -a -c aHVudGVy
        kubectl get secret s -o 'jsonpath={.data.password}' | base64 -d
        """)
      #expect(made.output == "0\nhunter2222222222", "\(made)")
    }
  }

  @Test func flagsThatWouldNotBeUsedAndAnEtcdThatIsNotThereAreToldByName() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    for (options, words) in [
      (["--etcd-prefix", "/x"], "--etcd-servers is not given"),
      (["--etcd-servers", "127.0.0.1:2379"], "is no server such as https://10.0.0.1:2379"),
      (["--etcd-servers", "https://127.0.0.1:1", "--etcd-certfile", "/c"], "a certificate and its key"),
    ] {
      let outcome = try await ChildProcess.run(
        try BuiltPrograms.path("martlet"),
        arguments: ["martlet", "server", "--root", "\(directory.path)/root", "--run", "\(directory.path)/run"] + options
      )
      #expect(outcome.status == .exited(2))
      #expect(String(decoding: outcome.errorOutput, as: UTF8.self).contains(words), "\(options)")
    }
  }
}

extension Substring {
  fileprivate func trimming(_ isEdge: (Character) -> Bool) -> Substring {
    var rest = self
    while let first = rest.first, isEdge(first) { rest.removeFirst() }
    while let last = rest.last, isEdge(last) { rest.removeLast() }
    return rest
  }
}

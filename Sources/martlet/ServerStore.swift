import APIServer
import ArgumentParser
import EtcdStore
import Logging
import ObjectStore

/// Where `martlet server` keeps the objects: in a file below `--root`, or in etcd. Named as kube-apiserver's flags.
struct StoreOptions: ParsableArguments {
  @Option(
    name: .customLong("etcd-servers"),
    help: ArgumentHelp(
      "Keep the objects in this etcd instead of a file: its servers, with commas between them.",
      valueName: "https://host:port"))
  var servers: String?

  @Option(
    name: .customLong("etcd-cafile"),
    help: ArgumentHelp("Who signed the certificates of etcd's servers, as PEM.", valueName: "file"))
  var authorityFile: String?

  @Option(
    name: .customLong("etcd-certfile"),
    help: ArgumentHelp("The certificate shown to etcd, as PEM.", valueName: "file"))
  var certificateFile: String?

  @Option(
    name: .customLong("etcd-keyfile"), help: ArgumentHelp("Its private key, as PEM.", valueName: "file"))
  var keyFile: String?

  @Option(
    name: .customLong("etcd-prefix"),
    help: ArgumentHelp("What the objects' keys in etcd begin with.", valueName: "prefix"))
  var prefix: String?

  /// Nil: a file.
  func plan() throws -> EtcdOptions? {
    guard let servers else {
      let others = [
        ("--etcd-cafile", authorityFile), ("--etcd-certfile", certificateFile), ("--etcd-keyfile", keyFile),
        ("--etcd-prefix", prefix),
      ]
      if let (name, _) = others.first(where: { $0.1 != nil }) {
        throw Failure("\(name): says how to reach etcd, but --etcd-servers is not given", code: Failure.usageCode)
      }
      return nil
    }
    do throws(EtcdOptionError) {
      return try EtcdOptions(
        servers: servers.split(separator: ",").map(String.init), authorityFile: authorityFile,
        certificateFile: certificateFile, keyFile: keyFile, prefix: prefix ?? EtcdOptions.usualPrefix)
    } catch {
      throw Failure("--etcd-servers: \(error)", code: Failure.usageCode)
    }
  }
}

extension ControlPlane {
  func openStore(_ encryption: EncryptionConfiguration?) async throws -> ObjectStore {
    var configuration = StoreConfiguration()
    configuration.sealing = encryption?.sealing ?? EncryptionConfiguration.withoutKeys
    let logger = Logger(label: "martlet.store")
    do throws(StoreError) {
      if let etcd = plan.etcd {
        return try await EtcdStore.open(etcd, configuration: configuration, logger: logger)
      }
      return try await ObjectStore.open(directory: plan.directory, configuration: configuration, logger: logger)
    } catch {
      throw Failure("objects: \(error)")
    }
  }
}

# SPDX-License-Identifier: MIT
require "rails/all"

module Garden
  class Application < Rails::Application
    config.load_defaults 6.1
    config.secret_key_base = "only for tests"
    config.eager_load = true
    config.cache_classes = true
    config.consider_all_requests_local = false
    config.log_level = :warn
    config.logger = ActiveSupport::Logger.new($stderr)
    config.active_storage.service = :none
    config.active_storage.service_configurations = { none: { service: "Disk", root: "/tmp/storage" } }
    config.paths["tmp"] = "/tmp"
    config.hosts.clear
  end
end

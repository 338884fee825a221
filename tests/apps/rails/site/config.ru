# SPDX-License-Identifier: MIT
require_relative "config/environment"
run Rails.application
